//! Replayed responses end with their session.

use super::scene::{send_refresh, start};
use crate::support::http::{assert_refused, client, get_with, post};
use crate::support::stack::{Tokens, stop};
use serde_json::{Value, json};

#[tokio::test]
async fn nothing_is_replayed_after_a_revocation() {
    let stack = start(&[]).await;
    let command = |arguments: &[&str]| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/debug/portcullis-auth");
        let mut command = std::process::Command::new(root);
        let output =
            command.arg("--config").arg(stack.fact("auth_config")).args(arguments).output();
        let output = output.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        text
    };
    for way in ["logout", "revoke", "bearer", "session", "user"] {
        let first = stack.login().await;
        let second = Tokens::read(send_refresh(&stack, &first.refresh).await).await;
        let third = Tokens::read(send_refresh(&stack, &second.refresh).await).await;
        for old in [&first, &second] {
            assert_eq!(send_refresh(&stack, &old.refresh).await.status(), 200, "{way}");
        }
        match way {
            "logout" => {
                let body = json!({ "refresh_token": third.refresh });
                assert_eq!(post(&stack.edge("/auth/logout"), body).await.status(), 204);
            }
            "revoke" => {
                let form = format!("token={}", third.refresh);
                let request = client().post(stack.edge("/oauth/revoke")).body(form);
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                assert_eq!(request.send().await.unwrap().status(), 200);
            }
            "bearer" => {
                let request = client().post(stack.edge("/auth/logout")).bearer_auth(&third.access);
                assert_eq!(request.send().await.unwrap().status(), 204);
            }
            "session" => {
                let list = command(&["sessions", "list", "--username", stack.username()]);
                let newest: Value = serde_json::from_str(list.lines().next().unwrap()).unwrap();
                let id = newest["session"].as_str().unwrap();
                let said = command(&["sessions", "revoke", "--session", id]);
                assert!(said.contains("\"store\":\"updated\""), "{said}");
            }
            _ => {
                let said = command(&["user", "disable", "--username", stack.username()]);
                assert!(said.contains("\"store\":\"updated\""), "{said}");
            }
        }
        for old in [&first, &second, &third] {
            let again = send_refresh(&stack, &old.refresh).await;
            let status = again.status();
            assert_eq!(status, 401, "{way}: {}", again.text().await.unwrap());
            assert_refused(
                get_with(&stack.edge("/api/hello"), &old.access).await,
                401,
                "token_revoked",
            )
            .await;
        }
    }
    let login = stack.try_login(stack.username(), stack.password()).await;
    assert_refused(login, 401, "credentials_invalid").await;
    command(&["user", "enable", "--username", stack.username()]);
    let back = stack.login().await;
    assert_eq!(get_with(&stack.edge("/api/hello"), &back.access).await.status(), 200);
    stop(vec![stack]).await;
}
