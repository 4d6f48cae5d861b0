// The k largest of every 1024 values of a row, with their places, largest first; of equal ones the first comes first. A
// vocabulary takes passes: each leaves k of 1024, until one workgroup is left (k = 1: 262144 values, 256, 1).
//
// Bindings: group 0, 0 = values [rows, count], 1 = their places [rows, count] (no first pass reads them), 2 = values out
// [rows, chunks, k], 3 = places out. Parameters: immediate, 32 bytes. Workgroup: 256 x 1 x 1 for 1024 values: x of the
// grid goes over chunks of a row, y over rows. k is at most 1024; a place beyond the row is 0xffffffff. NaN counts as
// the smallest value.

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
const SAMPLE_LOWEST: f32 = -3.4028234663852886e38;

@group(0) @binding(0) var<storage, read_write> sample_values: array<f32>;
@group(0) @binding(1) var<storage, read_write> sample_places: array<u32>;
@group(0) @binding(2) var<storage, read_write> sample_top_values: array<f32>;
@group(0) @binding(3) var<storage, read_write> sample_top_places: array<u32>;
var<immediate> sample_top_params: SampleTopParams;
var<workgroup> sample_value: array<f32, 1024>;
var<workgroup> sample_place: array<u32, 1024>;

fn sample_comes_first(a: f32, a_place: u32, b: f32, b_place: u32) -> bool {
  return a > b || (a == b && a_place < b_place);
}

// Puts the larger of two entries first (descending) or last.
fn sample_order(i: u32, j: u32, descending: bool) {
  let a = sample_value[i];
  let b = sample_value[j];
  let a_place = sample_place[i];
  let b_place = sample_place[j];
  if sample_comes_first(b, b_place, a, a_place) == descending {
    sample_value[i] = b;
    sample_place[i] = b_place;
    sample_value[j] = a;
    sample_place[j] = a_place;
  }
}

@compute @workgroup_size(256, 1, 1)
fn sample_top(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) group: vec3<u32>,
              @builtin(num_workgroups) groups: vec3<u32>) {
  let p = sample_top_params;
  for (var i = t; i < SAMPLE_CHUNK; i += 256u) {
    let at = group.x * SAMPLE_CHUNK + i;
    var value = SAMPLE_LOWEST;
    var place = 0xffffffffu;
    if at < p.count {
      let x = sample_values[group.y * p.count + at];
      value = select(math_max(x, SAMPLE_LOWEST), SAMPLE_LOWEST, math_is_nan(x));
      place = at;
      if p.has_places != 0u {
        place = sample_places[group.y * p.count + at];
      }
    }
    sample_value[i] = value;
    sample_place[i] = place;
  }
  workgroupBarrier();
  if p.k == 1u {
    for (var step = SAMPLE_CHUNK / 2u; step > 0u; step /= 2u) {
      for (var i = t; i < step; i += 256u) {
        sample_order(i, i + step, true);
      }
      workgroupBarrier();
    }
  } else {
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
    sample_top_values[to] = sample_value[i];
    sample_top_places[to] = sample_place[i];
  }
}
