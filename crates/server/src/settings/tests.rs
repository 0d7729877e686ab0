//! What the readers of both programs share, by a program with a few settings.

use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

crate::settings! {
    URL = Setting::new("store", "url", "STORE_URL", Kind::Text(Format::ANY))
        .flag("store-url").default("redis://host").sensitive().help("The store");
    TOKEN = Setting::new("store", "token", "STORE_TOKEN",
            Kind::Secret { file: "token_file", format: Format::ANY })
        .required("give the token").help("Its token");
    SECONDS = Setting::number("tokens", "seconds", "TOKEN_SECONDS", 60, 900).or_zero()
        .flag("token-seconds").default("90").help("Life of a token, in seconds");
    ISSUER = Setting::new("tokens", "issuer", "ISSUER", Kind::Text(Format::ANY))
        .flag("issuer").required("give the URL").help("The iss");
    CA = Setting::new("store", "ca_file", "STORE_CA_FILE", Kind::Path)
        .flag("ca-file").otherwise("the system's").help("Authorities in PEM");
}

const TABLE: SettingsTable =
    SettingsTable { settings: ALL, file_variable: "CONFIG", namespaces: &["TOKEN_"] };

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("settings-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Reads all settings, and returns them or the errors without the folder.
fn read(file: Option<&Path>, variables: &[(&str, &str)]) -> Result<String, Vec<String>> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let sources = Sources {
        flags: BTreeMap::new(),
        environment: &|name| variables.get(name).map(|value| (*value).to_owned()),
        names: variables.keys().map(|name| (*name).to_owned()).collect(),
        file,
    };
    let mut reader = SettingsReader::new(&TABLE, sources);
    let read = format!(
        "{:?} {:?} {} {:?} {:?}",
        reader.text(&URL),
        reader.secret(&TOKEN),
        reader.number(&SECONDS),
        reader.text(&ISSUER),
        reader.path(&CA).map(|path| path.file_name().unwrap().to_owned()),
    );
    let errors = reader.into_errors();
    let folder = file.and_then(Path::parent).map(|folder| format!("{}/", folder.display()));
    let text = |error: &SettingError| match &folder {
        Some(folder) => error.to_string().replace(folder, ""),
        None => error.to_string(),
    };
    if errors.is_empty() { Ok(read) } else { Err(errors.iter().map(text).collect()) }
}

#[test]
fn errors_of_file_and_environment_are_reported_together_in_order() {
    let folder = Folder::new("order");
    let text = "[tokens]\nseconds = 59\n\n[store]\nulr = 'x'\n  token = 'secret-word'\n\n[tokns]\n";
    let file = folder.write("a.toml", text, 0o600);
    let errors = read(Some(&file), &[("TOKEN_SECOND", "5"), ("STORE_URLS", "x")]);
    assert_eq!(
        errors.unwrap_err(),
        [
            "a.toml:1:2: error: tokens.issuer: is not set; give the URL, here or as ISSUER",
            "a.toml:2:1: error: tokens.seconds: must be a whole number, 60 to 900, or 0",
            "a.toml:5:1: error: store.ulr: unknown member; see docs/configuration.md",
            "a.toml:6:3: error: store.token: a secret does not belong in this file; give the \
             variable STORE_TOKEN, or the path of a file with it as store.token_file or in \
             STORE_TOKEN_FILE",
            "a.toml:8:2: error: tokns: unknown member; did you mean tokens?",
            "STORE_URLS: unknown setting; rename it to STORE_URL, or unset it",
            "TOKEN_SECOND: unknown setting; rename it to TOKEN_SECONDS, or unset it",
        ]
    );
}

#[test]
fn file_that_is_no_toml_is_reported_without_its_text() {
    let folder = Folder::new("syntax");
    let file = folder.write("a.toml", "[store]\nurl = secret-word\n\n[tokens\n", 0o600);
    let errors = read(Some(&file), &[]).unwrap_err();
    assert!(errors[0].starts_with("a.toml:2:"), "{errors:?}");
    assert!(errors.iter().any(|error| error.starts_with("a.toml:4:")), "{errors:?}");
    // What is missing may be in the file.
    assert!(errors.iter().all(|error| error.contains("can't be parsed")), "{errors:?}");
    assert!(!errors.concat().contains("secret-word"), "{errors:?}");
    let twice = folder.write("b.toml", "[store]\nurl = 'a'\nurl = 'b'\n", 0o600);
    let errors = read(Some(&twice), &[]).unwrap_err();
    assert!(errors.len() == 1 && errors[0].starts_with("b.toml:3:1: error: "), "{errors:?}");
    let errors = read(Some(Path::new("/none/a.toml")), &[]).unwrap_err();
    assert!(errors.len() == 1 && errors[0].contains("can't be read"), "{errors:?}");
    assert!(read(Some(&folder.0), &[]).is_err());
}

#[test]
fn text_stands_for_a_variable_that_is_the_operators_own() {
    let folder = Folder::new("variable");
    let text =
        "[store]\nurl = '${STORE_URLS}'\ntoken_file = '${TOKEN_PATH}'\n\n[tokens]\nissuer='i'";
    let file = folder.write("a.toml", text, 0o600);
    let token = folder.write("token", "t\n", 0o600).display().to_string();
    let set = [("STORE_URLS", "redis://u:p@h"), ("TOKEN_PATH", token.as_str())];
    let expect = r#"Some("redis://u:p@h") Some("t") 90 Some("i") None"#;
    assert_eq!(read(Some(&file), &set).unwrap(), expect);
    let errors = read(Some(&file), &[("STORE_URLS", "x")]).unwrap_err();
    assert_eq!(
        errors,
        ["a.toml:3:1: error: store.token_file: the variable TOKEN_PATH is not set; set it, or \
          write the value here"]
    );
}

#[test]
fn paths_are_relative_to_the_folder_of_the_file() {
    let folder = Folder::new("paths");
    folder.write("token", "t", 0o600);
    let text = "[store]\ntoken_file = 'token'\nca_file = 'ca.pem'\n[tokens]\nissuer = 'i'\n";
    let file = folder.write("a.toml", text, 0o644);
    let read = read(Some(&file), &[]).unwrap();
    assert_eq!(read, r#"Some("redis://host") Some("t") 90 Some("i") Some("ca.pem")"#);
}

#[test]
fn password_in_a_file_that_others_may_read_is_an_error() {
    let folder = Folder::new("exposed");
    let text = "[store]\nurl = 'redis://u:hush@h'\n[tokens]\nissuer = 'i'\n";
    let file = folder.write("a.toml", text, 0o640);
    let errors = read(Some(&file), &[("STORE_TOKEN", "t")]).unwrap_err();
    let expect = "a.toml:2:1: error: store.url: has a password, and others may read this file; \
                  chmod 600, or give STORE_URL";
    assert_eq!(errors, [expect]);
    let variables = [("STORE_TOKEN", "t"), ("STORE_URL", "redis://u:p@h")];
    assert!(read(Some(&file), &variables).is_ok(), "the variable counts");
    folder.write("a.toml", text, 0o600);
    assert!(read(Some(&file), &[("STORE_TOKEN", "t")]).is_ok());
}

/// The path may be the secret itself, by mistake.
#[test]
fn error_of_a_secret_file_does_not_name_it() {
    let variables = [("ISSUER", "i"), ("STORE_TOKEN_FILE", "hush-hush")];
    let errors = read(None, &variables).unwrap_err();
    assert!(errors[0].starts_with("STORE_TOKEN_FILE: names a file that can't be read: "));
    assert!(errors.len() == 1 && !errors[0].contains("hush"), "{errors:?}");
}

#[test]
fn names_of_others_are_theirs() {
    let own =
        [("ISSUER", "i"), ("STORE_TOKEN", "t"), ("CONFIG", "x"), ("PATH", "/"), ("TOKENS", "")];
    assert!(read(None, &own).is_ok());
    let foreign = [("ISSUER", "i"), ("STORE_TOKEN", "t"), ("TOKEN_LIFE", "5")];
    let errors = read(None, &foreign).unwrap_err();
    assert!(errors[0].starts_with("TOKEN_LIFE: unknown setting; rename it to"), "{errors:?}");
}

#[test]
fn help_has_bounds_default_and_member() {
    let help = |setting: &Setting| {
        let argument = arguments(&[*setting]).next();
        argument.and_then(|argument| argument.get_help().map(ToString::to_string))
    };
    let expect =
        "Life of a token, in seconds (60 to 900, or 0) [default: 90] [file: tokens.seconds]";
    assert_eq!(help(&SECONDS).as_deref(), Some(expect));
    assert_eq!(help(&ISSUER).as_deref(), Some("The iss [required] [file: tokens.issuer]"));
    assert_eq!(help(&TOKEN), None);
}
