//! Measures the time of core's hot functions: `cargo bench -p portcullis-bench`.

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_bench::{HOT, Scene};

fn core(criterion: &mut Criterion) {
    let Ok(scene) = Scene::new() else {
        return;
    };
    for (name, function) in HOT {
        criterion.bench_function(name, |bencher| bencher.iter(|| function(&scene)));
    }
}

criterion_group!(benches, core);
criterion_main!(benches);
