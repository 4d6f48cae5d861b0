// norm.wgsl of rows that are no whole quads: none of them are stored as float16.

fn norm_round(at: u32, y: Lane) {}
