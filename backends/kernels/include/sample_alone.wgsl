// sample_top.wgsl where nobody but who samples wants to know.

fn sample_tell(place: u32) {}
