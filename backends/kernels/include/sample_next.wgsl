// The last pass of sample_top.wgsl over a single row, k = 1, where the next step of decoding may begin without the host:
// it finds there what the host would send it. Bindings: 2 = past and fresh positions of this step, 3 = those of the next
// one, and from SAMPLE_NEXT_ID on its token as i64, which is i32, too, for who reads that.

const SAMPLE_NEXT_ID: u32 = 64u;

@group(0) @binding(2) var<storage, read> sample_positions: array<u32>;
@group(0) @binding(3) var<storage, read_write> sample_next: array<u32>;

fn sample_tell(place: u32) {
  sample_next[0] = sample_positions[0] + sample_positions[1];
  sample_next[1] = 1u;
  sample_next[SAMPLE_NEXT_ID] = place;
  sample_next[SAMPLE_NEXT_ID + 1u] = 0u;
}
