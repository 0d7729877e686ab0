//! A request's body, as the gateway reads it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_rest::{decode_command, decode_pipeline, encode_pipeline};

fuzz_target!(|data: &[u8]| {
    if let Ok(command) = decode_command(data) {
        assert!(!command.name().is_empty());
        // All of it came as JSON, so all of it is text, and goes the same way again.
        let again = decode_pipeline(encode_pipeline(&[command.clone()]).as_bytes(), 1);
        assert_eq!(again, Ok(vec![command]));
    }
    if let Ok(commands) = decode_pipeline(data, 8) {
        assert!(commands.len() <= 8);
        assert!(commands.iter().all(|command| !command.name().is_empty()));
        let again = decode_pipeline(encode_pipeline(&commands).as_bytes(), 8);
        assert_eq!(again, Ok(commands));
    }
});
