//! A Postgres that freezes.

use crate::support::process::health;
use crate::support::stack::{Stack, stop};
use std::process::Command;
use std::time::{Duration, Instant};

fn postmaster(stack: &Stack) -> String {
    let folder = stack.fact("database_url").split("host=").nth(1).unwrap();
    let pids = std::fs::read_to_string(format!("{folder}/data/postmaster.pid")).unwrap();
    pids.lines().next().unwrap().to_owned()
}

/// Returns the processes that serve the auth service's connections.
fn backends(stack: &Stack) -> Vec<String> {
    let mut list = Command::new("pgrep");
    list.args(["-P", &postmaster(stack), "-f", "postgres postgres"]);
    let pids = String::from_utf8(list.output().unwrap().stdout).unwrap();
    pids.lines().map(str::to_owned).collect()
}

fn signal(signal: &str, pids: &[String]) {
    assert!(Command::new("kill").arg(signal).args(pids).status().unwrap().success());
}

/// New connections are possible, as with a standby that has taken over.
#[tokio::test]
async fn service_recovers_within_15_s_while_all_its_connections_are_frozen() {
    let options = ["--db", "postgres"];
    let stack = tokio::task::spawn_blocking(move || Stack::start(&options, None)).await.unwrap();
    let logins = || futures_util::future::join_all((0..16).map(|_| stack.login()));
    logins().await;
    let frozen = backends(&stack);
    assert!(frozen.len() > 1, "{frozen:?}");
    signal("-STOP", &frozen);
    let begun = Instant::now();
    let login = || stack.try_login(stack.username(), stack.password());
    while login().await.status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(15), "no login after {:?}", begun.elapsed());
    }
    println!("a login succeeded {:?} after {} connections froze", begun.elapsed(), frozen.len());
    tokio::time::sleep(Duration::from_secs(15).saturating_sub(begun.elapsed())).await;
    let begun = Instant::now();
    logins().await;
    println!("16 logins took {:?}", begun.elapsed());
    // The frozen processes find their connections closed, and end.
    signal("-CONT", &frozen);
    let begun = Instant::now();
    while backends(&stack).iter().any(|pid| frozen.contains(pid)) {
        assert!(begun.elapsed() < Duration::from_secs(10), "frozen connections are still in use");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_health_without_database(&stack);
    stop(stack).await;
}

/// Ends Postgres.
fn assert_health_without_database(stack: &Stack) {
    let address = |fact: &str| stack.fact(fact).replace("http://", "");
    let (listen, admin) = (address("auth_url"), address("auth_admin_url"));
    let environment = [("AUTH_LISTEN", listen.as_str()), ("AUTH_ADMIN_LISTEN", &admin)];
    let ready = || health("portcullis-auth", &["--ready", "--timeout-ms", "15000"], &environment);
    assert_eq!(ready(), (0, "healthy\n".to_owned()));
    // The fast shutdown.
    signal("-INT", &[postmaster(stack)]);
    let begun = Instant::now();
    while ready().0 == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "ready without a database");
    }
    println!("not ready {:?} after Postgres was shut down", begun.elapsed());
    let reason = "status 503 the database does not respond";
    assert_eq!(ready(), (1, format!("unhealthy: GET /readyz at {admin}: {reason}\n")));
    let alive = health("portcullis-auth", &[], &environment);
    assert_eq!(alive, (0, "healthy\n".to_owned()));
}
