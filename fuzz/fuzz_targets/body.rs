//! A request's body, as the redis gateway parses it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_rest::{BodyBounds, decode_command, decode_pipeline, encode_pipeline};

const BOUNDS: BodyBounds = BodyBounds { commands_max: 8, words_max: 64 };

fuzz_target!(|data: &[u8]| {
    if let Ok(command) = decode_command(data, BOUNDS) {
        assert!(!command.name().is_empty());
        // The input was JSON, so every argument is text and survives a second round trip.
        let again = decode_pipeline(encode_pipeline(&[command.clone()]).as_bytes(), BOUNDS);
        assert_eq!(again, Ok(vec![command]));
    }
    if let Ok(commands) = decode_pipeline(data, BOUNDS) {
        assert!(commands.len() <= 8);
        assert!(commands.iter().map(|command| command.words().len()).sum::<usize>() <= 64);
        assert!(commands.iter().all(|command| !command.name().is_empty()));
        let again = decode_pipeline(encode_pipeline(&commands).as_bytes(), BOUNDS);
        assert_eq!(again, Ok(commands));
    }
});
