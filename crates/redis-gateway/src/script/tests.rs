use super::*;

#[test]
fn key_locking_flag_is_removed() {
    fn check(script: &str, expect: Option<&str>) {
        let got = without_key_locking(script.as_bytes());
        assert_eq!(got.as_deref(), expect.map(str::as_bytes), "{script:?}");
    }
    check("#!lua flags=allow-key-locking\nreturn 1", Some("\nreturn 1"));
    check("#!lua flags=allow-key-locking\r\nreturn 1", Some("\nreturn 1"));
    check("#!lua flags=no-writes,allow-key-locking\nx", Some("#!lua flags=no-writes\nx"));
    check("#!lua  flags=allow-key-locking,no-writes \nx", Some("#!lua flags=no-writes\nx"));
    check("#!lua name=a flags=allow-key-locking\nx", Some("#!lua name=a\nx"));
    check("#!lua flags=no-writes\nx", None);
    check("#!lua\nx", None);
    check("return 1 -- flags=allow-key-locking\n", None);
    check("#!lua flags=allow-key-locking", None);
    check("", None);
}

#[test]
fn client_name_leads_to_the_rewritten_script() {
    let scripts = Scripts::default();
    let script = "#!lua flags=allow-key-locking\nreturn 1";
    let (client_name, redis_name) = (script_sha1(script.as_bytes()), script_sha1(b"\nreturn 1"));
    let rewritten = |command: Command| {
        let mut command = command;
        let renamed = scripts.rewrite(&mut command);
        (command, renamed)
    };
    let by_name = |name: &str| Command::new("evalsha").arg(name).arg(0);
    assert_eq!(
        rewritten(by_name(&client_name)).0,
        by_name(&client_name),
        "unknown before its first use"
    );
    let (command, _) = rewritten(Command::new("EVAL").arg(script).arg(0));
    assert_eq!(command, Command::new("EVAL").arg("\nreturn 1").arg(0));
    assert_eq!(rewritten(by_name(&client_name.to_uppercase())).0, by_name(&redis_name));
    let exists = |name: &str| Command::new("SCRIPT").arg("exists").arg("00").arg(name);
    assert_eq!(rewritten(exists(&client_name)).0, exists(&redis_name));
    let (command, renamed) = rewritten(Command::new("SCRIPT").arg("LOAD").arg(script));
    assert_eq!(command, Command::new("SCRIPT").arg("LOAD").arg("\nreturn 1"));
    let mut reply = Reply::text(&redis_name);
    renamed.unwrap().restore(&mut reply);
    assert_eq!(reply, Reply::text(&client_name));
}

#[test]
fn script_names_are_bounded() {
    let scripts = Scripts::default();
    let script = |n: usize| format!("#!lua flags=allow-key-locking\nreturn {n}");
    for n in 0..=NAMES_MAX {
        scripts.rewrite(&mut Command::new("EVAL").arg(script(n)).arg(0));
    }
    let is_known = |n: usize| {
        let name = script_sha1(script(n).as_bytes());
        let mut command = Command::new("EVALSHA").arg(&name).arg(0);
        scripts.rewrite(&mut command);
        command.text(1) != Some(&name)
    };
    assert!(!is_known(0) && is_known(1) && is_known(NAMES_MAX));
}
