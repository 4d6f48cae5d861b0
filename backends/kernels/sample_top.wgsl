// The k largest of every 1024 values of a row, or the largest of every 4096, with their places, largest first; of
// equal ones the first comes first. A vocabulary takes passes: each leaves k of a chunk, until one workgroup is left
// (k = 1: 262144 values, 64, 1).
//
// Bindings: group 0, 0 = values [rows, count] and, but in a first pass, behind them their places [rows, count], 1 =
// values out [rows, chunks, k], behind them their places: one range, which the host may have in one copy. Values are
// there as their bits. More in include/sample_next.wgsl. Parameters: immediate, 32 bytes. Workgroup: 256 x 1 x 1 for a
// chunk: x of the grid goes over chunks of a row, y over rows. k is at most 1024; a place beyond the row is 0xffffffff.
// NaN comes before everything, so that whoever samples sees it. Comes after include/order_key.wgsl, and
// include/sample_alone.wgsl or sample_next.wgsl.

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
const SAMPLE_CHUNK_OF_ONE: u32 = 4096u;
const SAMPLE_NOWHERE: u32 = 0xffffffffu;

@group(0) @binding(0) var<storage, read_write> sample_candidates: array<u32>;
@group(0) @binding(1) var<storage, read_write> sample_largest: array<u32>;
var<immediate> sample_top_params: SampleTopParams;
var<workgroup> sample_key: array<u32, 1024>;
var<workgroup> sample_place: array<u32, 1024>;

fn sample_comes_first(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.x > b.x || (a.x == b.x && a.y < b.y);
}

// Key and place of a value of a row; beyond the row: below everything. It reads in any case, so that reads of several
// need not wait for each other.
fn sample_entry(row: u32, rows: u32, at: u32) -> vec2<u32> {
  let p = sample_top_params;
  let word = row * p.count + min(at, p.count - 1u);
  let key = order_key(bitcast<f32>(sample_candidates[word]), false);
  var place = at;
  if p.has_places != 0u {
    place = sample_candidates[rows * p.count + word];
  }
  return select(vec2<u32>(0u, SAMPLE_NOWHERE), vec2<u32>(key, place), at < p.count && place != SAMPLE_NOWHERE);
}

fn sample_better(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return select(a, b, sample_comes_first(b, a));
}

fn sample_better_of_four(a: vec2<u32>, b: vec2<u32>, c: vec2<u32>, d: vec2<u32>) -> vec2<u32> {
  return sample_better(sample_better(a, b), sample_better(c, d));
}

fn sample_best_of_four(row: u32, rows: u32, at: u32) -> vec2<u32> {
  return sample_better_of_four(sample_entry(row, rows, at), sample_entry(row, rows, at + 256u),
                               sample_entry(row, rows, at + 512u), sample_entry(row, rows, at + 768u));
}

fn sample_load(i: u32) -> vec2<u32> {
  return vec2<u32>(sample_key[i], sample_place[i]);
}

fn sample_keep(i: u32, entry: vec2<u32>) {
  sample_key[i] = entry.x;
  sample_place[i] = entry.y;
}

fn sample_best_of_eight(i: u32, step: u32) -> vec2<u32> {
  let a = sample_better_of_four(sample_load(i), sample_load(i + step), sample_load(i + 2u * step),
                                sample_load(i + 3u * step));
  let b = sample_better_of_four(sample_load(i + 4u * step), sample_load(i + 5u * step), sample_load(i + 6u * step),
                                sample_load(i + 7u * step));
  return sample_better(a, b);
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
  if p.k == 1u {
    // Each invocation the best of sixteen, or of one where that is all: a later pass. Then 32 the best of eight each,
    // four of eight, and one of those. All that a turn reads it can ask for at once.
    let at = group.x * SAMPLE_CHUNK_OF_ONE + t;
    var best = vec2<u32>();
    if p.count <= 256u {
      best = sample_entry(group.y, groups.y, at);
    } else {
      best = sample_better_of_four(sample_best_of_four(group.y, groups.y, at),
                                   sample_best_of_four(group.y, groups.y, at + 1024u),
                                   sample_best_of_four(group.y, groups.y, at + 2048u),
                                   sample_best_of_four(group.y, groups.y, at + 3072u));
    }
    sample_keep(t, best);
    workgroupBarrier();
    if t < 32u {
      best = sample_best_of_eight(t, 32u);
      sample_keep(256u + t, best);
    }
    workgroupBarrier();
    if t < 4u {
      best = sample_best_of_eight(256u + t, 4u);
      sample_keep(288u + t, best);
    }
    workgroupBarrier();
    if t == 0u {
      best = sample_better_of_four(sample_load(288u), sample_load(289u), sample_load(290u), sample_load(291u));
      let to = group.y * groups.x + group.x;
      sample_largest[to] = sample_bits(best.x);
      sample_largest[groups.y * groups.x + to] = best.y;
      sample_tell(best.y);
    }
    return;
  }
  let first = group.x * SAMPLE_CHUNK;
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
  for (var i = t; i < p.k; i += 256u) {
    let to = (group.y * groups.x + group.x) * p.k + i;
    sample_largest[to] = sample_bits(sample_key[i]);
    sample_largest[groups.y * groups.x * p.k + to] = sample_place[i];
  }
}
