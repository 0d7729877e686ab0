//! Runs one of core's hot functions many times: `portcullis-hot NAME TIMES`.
//!
//! It is a separate package, because the tests count its instructions, and it builds in a fraction
//! of the time of the bench's servers.

mod scene;

use anyhow::{Context as _, Result};
use scene::{HOT, Scene};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().context("usage: portcullis-hot NAME TIMES")?;
    let times: u32 = arguments.next().context("usage: portcullis-hot NAME TIMES")?.parse()?;
    let scene = Scene::new()?;
    let hot = HOT.iter().find(|(hot, _)| *hot == name);
    let (_, function) = hot.with_context(|| format!("{name}: not one of core's hot functions"))?;
    (0..times).for_each(|_| function(&scene));
    Ok(())
}
