// The k largest of every 1024 values of a row, with their places, largest first; of equal ones the first comes first. A
// vocabulary takes passes: each leaves k of 1024, until one workgroup is left (k = 1: 262144 values, 256, 1).
//
// Bindings: group 0, 0 = values [rows, count] and, but in a first pass, behind them their places [rows, count], 1 = values
// out [rows, chunks, k], behind them their places: one range, which the host may have in one copy. Values are there as
// their bits. Parameters: immediate, 32 bytes. Workgroup: 256 x 1 x 1 for 1024 values: x of the grid goes over chunks of a
// row, y over rows. k is at most 1024; a place beyond the row is 0xffffffff. NaN comes before everything, so that whoever
// samples sees it. Comes after include/order_key.wgsl.

struct SampleTopParams {
  count: u32,       // values of a row
  k: u32,
  has_places: u32,  // 0: a value's place is its position
  pad0: u32,
  pad1: u32,
  pad2: u32,
  pad3: u32,
  pad4: u32,
}

const SAMPLE_CHUNK: u32 = 1024u;
const SAMPLE_NOWHERE: u32 = 0xffffffffu;

@group(0) @binding(0) var<storage, read_write> sample_candidates: array<u32>;
@group(0) @binding(1) var<storage, read_write> sample_largest: array<u32>;
var<immediate> sample_top_params: SampleTopParams;
var<workgroup> sample_key: array<u32, 1024>;
var<workgroup> sample_place: array<u32, 1024>;

fn sample_comes_first(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.x > b.x || (a.x == b.x && a.y < b.y);
}

// Key and place of a value of a row; beyond the row: below everything.
fn sample_entry(row: u32, rows: u32, at: u32) -> vec2<u32> {
  let p = sample_top_params;
  if at >= p.count {
    return vec2<u32>(0u, SAMPLE_NOWHERE);
  }
  var place = at;
  if p.has_places != 0u {
    place = sample_candidates[(rows + row) * p.count + at];
    if place == SAMPLE_NOWHERE {
      return vec2<u32>(0u, SAMPLE_NOWHERE);
    }
  }
  return vec2<u32>(order_key(bitcast<f32>(sample_candidates[row * p.count + at]), false), place);
}

fn sample_load(i: u32) -> vec2<u32> {
  return vec2<u32>(sample_key[i], sample_place[i]);
}

fn sample_keep(i: u32, entry: vec2<u32>) {
  sample_key[i] = entry.x;
  sample_place[i] = entry.y;
}

// Puts the larger of two entries first (descending) or last.
fn sample_order(i: u32, j: u32, descending: bool) {
  let a = sample_load(i);
  let b = sample_load(j);
  if sample_comes_first(b, a) == descending {
    sample_keep(i, b);
    sample_keep(j, a);
  }
}

// The bits that order_key made a key of.
fn sample_bits(key: u32) -> u32 {
  return select(~key, key ^ 0x80000000u, key >= 0x80000000u);
}

@compute @workgroup_size(256, 1, 1)
fn sample_top(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) group: vec3<u32>,
              @builtin(num_workgroups) groups: vec3<u32>) {
  let p = sample_top_params;
  let first = group.x * SAMPLE_CHUNK;
  if p.k == 1u {
    // Each invocation the best of four, sixteen the best of sixteen each, one the best of those.
    var best = sample_entry(group.y, groups.y, first + t);
    for (var i = t + 256u; i < SAMPLE_CHUNK; i += 256u) {
      let entry = sample_entry(group.y, groups.y, first + i);
      if sample_comes_first(entry, best) {
        best = entry;
      }
    }
    sample_keep(t, best);
    workgroupBarrier();
    if t < 16u {
      for (var i = t + 16u; i < 256u; i += 16u) {
        let entry = sample_load(i);
        if sample_comes_first(entry, best) {
          best = entry;
        }
      }
      sample_keep(t, best);
    }
    workgroupBarrier();
    if t == 0u {
      for (var i = 1u; i < 16u; i += 1u) {
        let entry = sample_load(i);
        if sample_comes_first(entry, best) {
          best = entry;
        }
      }
      sample_keep(0u, best);
    }
    workgroupBarrier();
  } else {
    for (var i = t; i < SAMPLE_CHUNK; i += 256u) {
      sample_keep(i, sample_entry(group.y, groups.y, first + i));
    }
    workgroupBarrier();
    // Bitonic sort (Batcher 1968), largest first.
    for (var run = 2u; run <= SAMPLE_CHUNK; run *= 2u) {
      for (var step = run / 2u; step > 0u; step /= 2u) {
        for (var pair = t; pair < SAMPLE_CHUNK / 2u; pair += 256u) {
          let i = pair / step * step * 2u + pair % step;
          sample_order(i, i + step, (i & run) == 0u);
        }
        workgroupBarrier();
      }
    }
  }
  for (var i = t; i < p.k; i += 256u) {
    let to = (group.y * groups.x + group.x) * p.k + i;
    sample_largest[to] = sample_bits(sample_key[i]);
    sample_largest[groups.y * groups.x * p.k + to] = sample_place[i];
  }
}
