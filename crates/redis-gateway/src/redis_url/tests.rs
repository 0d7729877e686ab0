use super::*;

fn extra() -> ExtraOptions {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    ExtraOptions {
        tls: Some(Arc::new(config)),
        sentinel_username: None,
        sentinel_password: Some(Secret("sentinels".into())),
    }
}

fn all(addresses: &[Address]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn shown(options: &ConnectOptions) -> String {
    let password = options.password.as_ref().map(Secret::expose);
    let tls = if options.tls.is_some() { " tls" } else { "" };
    format!("{:?} {password:?} {}{tls}", options.username.as_deref(), options.database)
}

#[test]
fn url_determines_the_kind_of_deployment() {
    fn check(url: &str, expect: Option<&str>) {
        let got = Deployment::parse(url, &extra()).map(|deployment| match deployment {
            Deployment::Cluster { seeds, options } => {
                format!("cluster {} {}", all(&seeds), shown(&options))
            }
            Deployment::Sentinel { sentinels, sentinel_options, master_name, options } => {
                format!(
                    "{master_name} of {} {} {}",
                    all(&sentinels),
                    shown(&sentinel_options),
                    shown(&options)
                )
            }
            Deployment::Standalone { address, options } => {
                format!("{address} {}", shown(&options))
            }
        });
        assert_eq!(got.as_deref(), expect, "{url}");
    }
    check("redis://localhost", Some("localhost:6379 None None 0"));
    check("redis://user:p%40ss@h:1/3", Some("h:1 Some(\"user\") Some(\"p@ss\") 3"));
    check("redis://:p@w@h", Some("h:6379 None Some(\"p@w\") 0"));
    check("rediss://h", Some("h:6379 None None 0 tls"));
    check("redis://[::1]:7000", Some("::1:7000 None None 0"));
    let sentinel_options = "None Some(\"sentinels\") 0";
    let sentinels =
        |rest: &str| Some(format!("mymaster of s1:26379 s2:7 {sentinel_options} {rest}"));
    check("redis://s1,s2:7/mymaster", sentinels("None None 0").as_deref());
    check("redis://:pw@s1,s2:7/mymaster/2", sentinels("None Some(\"pw\") 2").as_deref());
    check("redis://s1/m", Some(format!("m of s1:26379 {sentinel_options} None None 0").as_str()));
    check("redis://n1,n2:7000,n3", Some("cluster n1:6379 n2:7000 n3:6379 None None 0"));
    check("rediss://u:p@n1?cluster", Some("cluster n1:6379 Some(\"u\") Some(\"p\") 0 tls"));
    check("redis://n1:7000?cluster=true", Some("cluster n1:7000 None None 0"));
    for wrong in [
        "redis://n1,n2/1",
        "redis://h/1/2",
        "redis://h?x=1",
        "redis://",
        "redis://a,,b",
        "redis://h:port",
        "redis://h:0",
        "redis://s1,s2/mymaster/x",
        "http://h",
        "h:6379",
        "redis://user@h",
        "redis://h h",
        "redis://[::1",
        "redis://n1/name?cluster",
    ] {
        check(wrong, None);
    }
    assert!(Deployment::parse("rediss://h", &ExtraOptions::default()).is_none());
    assert_eq!(format!("{:?}", Secret("hush".into())), "Secret");
}
