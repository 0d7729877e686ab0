//! A Postgres that freezes.

use crate::support::stack::{Stack, stop};
use std::process::Command;
use std::time::{Duration, Instant};

/// Returns the processes that serve the auth service's connections.
fn backends(stack: &Stack) -> Vec<String> {
    let folder = stack.fact("database_url").split("host=").nth(1).unwrap();
    let pids = std::fs::read_to_string(format!("{folder}/data/postmaster.pid")).unwrap();
    let mut list = Command::new("pgrep");
    list.args(["-P", pids.lines().next().unwrap(), "-f", "postgres postgres"]);
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
    stop(stack).await;
}
