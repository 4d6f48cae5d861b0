// What chain.wgsl gives, for a kernel that is no part of a chain.

fn chain_wait(word: u32, t: u32, group: u32) {}

fn chain_done(word: u32, t: u32, groups: u32) {}
