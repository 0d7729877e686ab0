//! Callers with tokens of a second issuer, for several APIs. The issuer ends them by events that it
//! pushes.

use super::record::Topic;
use super::state::visitors::{PATHS, Pass};
use super::world::World;
use crate::support::chance::Chance;
use std::time::Duration;

pub async fn visit(world: &World, mut chance: Chance) {
    let Some(pass) = world.visitors.live(&mut chance) else { return };
    call(world, "visitor", &pass, chance).await;
}

pub async fn visit_again(world: &World, mut chance: Chance) {
    let Some(pass) = world.visitors.ended(&mut chance) else { return };
    call(world, "visitor gone", &pass, chance).await;
}

/// Calls any API with a token. One for other APIs must be refused there, whatever state it has.
async fn call(world: &World, kind: &'static str, pass: &Pass, mut chance: Chance) {
    let (path, audience) = PATHS[chance.place(PATHS.len()).unwrap()];
    let request = world.client.get(world.any_url(&mut chance, path));
    let reply = world.send(request.bearer_auth(&pass.token.text)).await;
    if pass.audiences.contains(&audience) {
        return world.judge(kind, &pass.token, &reply);
    }
    match reply.status {
        Some(200) => {
            let text = format!("{kind}: a token for {:?} passed at {path}", pass.audiences);
            world.record.find(Topic::WrongAccept, text);
        }
        Some(401) => world.record.right("another API", &reply),
        _ => world.record.failure("another API", &reply, &world.history),
    }
}

/// Compares both isolates' verdicts at the end with what the events promise.
pub async fn check(world: &World) {
    let ended = world.visitors.newest_ended(100).into_iter();
    let revoked = ended.filter(|pass| pass.token.revocation().is_some()).map(|pass| (pass, 401));
    let live = world.visitors.all_live().into_iter().map(|pass| (pass, 200));
    let mut compared = [0, 0];
    for (pass, expected) in revoked.chain(live) {
        if pass.token.expires_within(Duration::from_secs(5)) {
            continue;
        }
        compared[usize::from(expected == 200)] += 1;
        for edge in [&world.system.edge, &world.system.other] {
            let request = world.client.get(edge.edge(pass.path())).bearer_auth(&pass.token.text);
            let reply = world.send(request).await;
            if reply.status != Some(expected) {
                let text = format!("visitor: {:?} instead of {expected}", reply.status);
                world.record.find(Topic::Database, format!("{text}: {}", reply.body));
            }
        }
    }
    if compared.contains(&0) {
        world.record.find(Topic::Load, format!("visitors at the end: {compared:?}"));
    }
}
