use super::*;

#[test]
fn batch_is_due_after_the_interval() {
    let state = UsageState::default();
    assert!(!state.is_due(1_000, 10_000, false), "the first request begins the interval");
    assert!(!state.is_due(10_999, 10_000, false));
    assert!(state.is_due(11_000, 10_000, false));
    assert!(!state.is_due(11_001, 10_000, false));
    // A clock that goes back does not stop it.
    assert!(state.is_due(500, 10_000, false));
    assert!(!state.is_due(501, 10_000, false));
}

/// While the store is down, full counts must not push batches out that wait.
#[test]
fn full_counts_are_due_unless_a_batch_waits() {
    let state = UsageState::default();
    assert!(!state.is_due(1_000, 10_000, true), "the first request begins the interval");
    assert!(state.is_due(1_001, 10_000, true));
    state.add("a".to_owned(), 1, 1_002);
    assert!(!state.is_due(1_003, 10_000, true));
    assert!(state.is_due(11_000, 10_000, true), "the interval is over");
    state.remove("a");
    assert!(state.is_due(11_001, 10_000, true));
}

#[test]
fn batches_wait_until_the_store_has_them() {
    let state = UsageState::default();
    for number in 0..4 {
        state.add(number.to_string(), 10, 1);
    }
    assert_eq!(state.first().as_deref(), Some("0"));
    assert_eq!(state.first().as_deref(), Some("0"), "its task may have ended");
    state.remove("0");
    assert_eq!(state.first().as_deref(), Some("1"));
    state.add("4".to_owned(), 10, 1);
    assert_eq!(state.take_lost(), 0);
    state.add("5".to_owned(), 10, 1);
    assert_eq!(state.first().as_deref(), Some("2"), "the oldest is dropped");
    assert_eq!((state.take_lost(), state.take_lost()), (10, 0));
}

#[test]
fn batches_are_dropped_while_the_store_has_too_many() {
    let state = UsageState::default();
    state.pause(1_000);
    state.add("a".to_owned(), 7, 999);
    assert_eq!((state.first(), state.take_lost()), (None, 7));
    state.add("b".to_owned(), 7, 1_000);
    assert_eq!((state.first().as_deref(), state.take_lost()), (Some("b"), 0));
}

#[test]
fn one_task_pushes_at_a_time() {
    let state = UsageState::default();
    assert!(state.begin_pushing(1_000, 100));
    assert!(!state.begin_pushing(1_001, 100));
    state.end_pushing();
    assert!(state.begin_pushing(1_001, 100));
    // A task that was dropped is forgotten.
    assert!(!state.begin_pushing(1_500, 100));
    assert!(state.begin_pushing(1_501, 100));
}
