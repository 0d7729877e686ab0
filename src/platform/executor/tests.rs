use super::*;
use crate::platform::protocol::TextRequest;

const REQUEST: TextRequest<'static> = TextRequest {
    method: "GET",
    url: "https://a.example/",
    request_id: "id",
    authorization: None,
    body: None,
    deadline_ms: 1,
    bytes_max: 1,
};
const STEP: &str = "AGET\nhttps://a.example/\nid\n\n\n1\n1\n";

fn respond(body: String) -> End {
    End::Respond { status: 200, fields: Vec::new(), body }
}

/// Fetches once, and ends with the result.
async fn fetch(port: Rc<TaskPort>) -> End {
    respond(format!("{:?}", port.fetch(Step::FetchText(&REQUEST)).await))
}

fn waiting(executor: &Executor) -> usize {
    executor.tasks.borrow().len()
}

#[test]
fn a_task_runs_from_step_to_step_until_its_end() {
    let executor = Executor::default();
    let first = executor.begin(1, 0, |port| async move {
        let mut texts = String::new();
        for _ in 0..2 {
            let response = port.fetch(Step::FetchText(&REQUEST)).await.unwrap();
            texts += &response.text;
        }
        respond(texts)
    });
    assert_eq!(first, STEP);
    assert_eq!(executor.resume(1, 200, "a".to_owned()), STEP);
    assert_eq!(executor.resume(1, 200, "b".to_owned()), "R200\n0\nab");
    assert_eq!(waiting(&executor), 0);
}

#[test]
fn tasks_receive_their_own_results() {
    let executor = Executor::default();
    for id in [1, 2] {
        executor.begin(id, 0, fetch);
    }
    let second = executor.resume(2, 200, "second".to_owned());
    let first = executor.resume(1, 0, "timeout".to_owned());
    assert!(second.contains("second"), "{second}");
    assert_eq!(first, "R200\n0\nErr(Timeout)");
}

#[test]
fn a_task_that_waits_without_a_step_is_stalled_and_dropped() {
    let executor = Executor::default();
    let stalled = executor.begin(1, 0, |_port| async {
        std::future::pending::<()>().await;
        End::Pass
    });
    assert_eq!(stalled, "Xtask_stalled");
    assert_eq!(waiting(&executor), 0);
    // After a step as well.
    executor.begin(2, 0, |port| async move {
        let _ = port.fetch(Step::FetchText(&REQUEST)).await;
        std::future::pending::<()>().await;
        End::Pass
    });
    assert_eq!(executor.resume(2, 200, String::new()), "Xtask_stalled");
    assert_eq!(executor.resume(2, 200, String::new()), "Xtask_unknown");
}

#[test]
fn a_result_of_the_wrong_kind_is_an_error() {
    let executor = Executor::default();
    for (status, text) in [(1, ""), (2, ""), (0, "tiemout"), (0, "")] {
        executor.begin(1, 0, fetch);
        assert_eq!(executor.resume(1, status, text.to_owned()), "R200\n0\nErr(Protocol)");
    }
}

#[test]
fn a_step_with_a_line_break_fails_without_a_crossing() {
    let executor = Executor::default();
    let end = executor.begin(1, 0, |port| async move {
        let request = TextRequest { url: "https://a.example/\n", ..REQUEST };
        respond(format!("{:?}", port.fetch(Step::FetchText(&request)).await))
    });
    assert_eq!(end, "R200\n0\nErr(Protocol)");
}

#[test]
fn a_background_task_has_steps_of_its_own() {
    let executor = Rc::new(Executor::default());
    let spawner = Rc::clone(&executor);
    let end = executor.begin(1, 0, |port| async move {
        spawner.spawn(&port, |port| async move {
            let _ = port.fetch(Step::FetchText(&REQUEST)).await;
        });
        fetch(port).await
    });
    assert_eq!(end, STEP);
    assert_eq!(executor.resume(2, 2, String::new()), STEP);
    assert_eq!(executor.resume(1, 200, "mine".to_owned()).lines().count(), 3);
    assert_eq!(executor.resume(2, 200, "its".to_owned()), "");
    assert_eq!(waiting(&executor), 0);
}

#[test]
fn a_forgotten_task_is_dropped() {
    let executor = Executor::default();
    let held = Rc::new(());
    let theirs = Rc::clone(&held);
    executor.begin(1, 0, |port| async move {
        let end = fetch(port).await;
        drop(theirs);
        end
    });
    assert_eq!(Rc::strong_count(&held), 2);
    executor.forget(1);
    assert_eq!(Rc::strong_count(&held), 1);
    assert_eq!(executor.resume(1, 200, String::new()), "Xtask_unknown");
}
