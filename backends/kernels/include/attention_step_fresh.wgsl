// What attention_step.wgsl reads, where new rows and queries are as their product left them: each workgroup rotates its
// queries and the new rows that are in its tiles, rounds these and stores them in the cache. At most 4 new rows.
//
// Bindings: group 0, 2 = k, 3 = v [batch, rows, kv_heads dim], 4 = (past, fresh) of each sequence (read), 5 = cos, 6 = sin
// [positions, half_rotary], a multiple of 4, 7 = the cache; 8 .. 10 = the end's.

const ATTENTION_STEP_FRESH: bool = true;
const ATTENTION_STEP_POSITIONS: u32 = 4u;
const ATTENTION_STEP_END: u32 = 8u;

@group(0) @binding(0) var<storage, read_write> attention_step_q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> attention_step_k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> attention_step_v: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> attention_step_cos: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> attention_step_sin: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> attention_step_cache: array<vec4<u32>>;

fn attention_step_batch(y: u32) -> u32 {
  return y / attention.kv_heads;
}

fn attention_step_at(batch: u32, kv_head: u32, query: u32) -> u32 {
  return attention_at(batch, kv_head, query);
}

// A quad that the workgroup stages: of its four queries, then of new keys, then of new values.
struct AttentionStepJob {
  kind: u32,        // 0: query, 1: key, 2: value, 3: none
  row: u32,
  quad: u32,
  x: vec4<f32>,
  partner: vec4<f32>,
}

fn attention_step_interleaved() -> bool {
  return (attention.flags & 1u) != 0u;
}

// The quad that a quad is paired with.
fn attention_step_partner(quad: u32) -> u32 {
  let half = attention.half_rotary / 4u;
  if quad >= 2u * half || attention_step_interleaved() {
    return quad;
  }
  return select(quad - half, quad + half, quad < half);
}

// So many there are.
fn attention_step_jobs() -> u32 {
  return (4u + 2u * attention.rows) * (attention.dim / 4u);
}

fn attention_step_ask(i: u32, batch: u32, kv_head: u32, first_query: u32) -> AttentionStepJob {
  let p = attention;
  let quads = p.dim / 4u;
  var line = attention_step_line(i);
  let quad = i - line * quads;
  let partner = attention_step_partner(quad);
  var job = AttentionStepJob(3u, 0u, quad, vec4<f32>(), vec4<f32>());
  if line < 4u {
    let query = first_query + line;
    if query < p.rows * p.group {
      let at = attention_step_at(batch, kv_head, query) / 4u;
      job.row = attention_step_row(query);
      job.x = attention_step_q[at + quad];
      job.partner = attention_step_q[at + partner];
    }
    job.kind = 0u;
    return job;
  }
  line -= 4u;
  if line < 2u * p.rows {
    job.row = line % p.rows;
    let at = ((batch * p.rows + job.row) * p.kv_heads + kv_head) * quads;
    if line < p.rows {
      job.kind = 1u;
      job.x = attention_step_k[at + quad];
      job.partner = attention_step_k[at + partner];
    } else {
      job.kind = 2u;
      job.x = attention_step_v[at + quad];
    }
  }
  return job;
}

// Where it is rotated to: padding has the position of some row.
struct AttentionStepAngle {
  cosine: vec4<f32>,
  sine: vec4<f32>,
}

fn attention_step_angle(job: AttentionStepJob, place: AttentionStepPlace) -> AttentionStepAngle {
  let half = attention.half_rotary / 4u;
  let quad = job.quad;
  let position = place.past + min(job.row, max(place.fresh, 1u) - 1u);
  if quad >= 2u * half {
    return AttentionStepAngle(vec4<f32>(), vec4<f32>());
  }
  if attention_step_interleaved() {
    let cosine = attention_step_cos[position * half + quad / 2u];
    let sine = attention_step_sin[position * half + quad / 2u];
    let second = (quad & 1u) != 0u;
    return AttentionStepAngle(select(cosine.xxyy, cosine.zzww, second), select(sine.xxyy, sine.zzww, second));
  }
  let at = position * half + select(quad - half, quad, quad < half);
  return AttentionStepAngle(attention_step_cos[at], attention_step_sin[at]);
}

fn attention_step_turned(job: AttentionStepJob, angle: AttentionStepAngle) -> vec4<f32> {
  let half = attention.half_rotary / 4u;
  if job.quad >= 2u * half {
    return job.x;
  }
  let interleaved = attention_step_interleaved();
  let other = select(job.partner, job.x.yxwz, interleaved) * angle.sine;
  let first = select(vec4<bool>(job.quad < half), vec4<bool>(true, false, true, false), interleaved);
  return select(job.x * angle.cosine + other, job.x * angle.cosine - other, first);
}

fn attention_step_halves(x: vec4<f32>) -> vec2<u32> {
  return vec2<u32>(math_f32_to_f16(x.x) | (math_f32_to_f16(x.y) << 16u),
                   math_f32_to_f16(x.z) | (math_f32_to_f16(x.w) << 16u));
}

// Two of a cache word's quads are a vec4.
fn attention_step_keep(element: u32, quad: u32, words: vec2<u32>) {
  if (quad & 1u) == 0u {
    attention_step_cache[element].x = words.x;
    attention_step_cache[element].y = words.y;
  } else {
    attention_step_cache[element].z = words.x;
    attention_step_cache[element].w = words.y;
  }
}

// The row that the block's first query with it stores, where its key's tile is.
fn attention_step_stores(place: AttentionStepPlace, row: u32) -> bool {
  let key = place.past + row;
  return row * attention.group / 4u == place.block && key < attention.keys && attention_step_mine(place, key);
}

fn attention_step_stage(job: AttentionStepJob, angle: AttentionStepAngle, i: u32, place: AttentionStepPlace) {
  let p = attention;
  let quads = p.dim / 4u;
  if job.kind == 0u {
    let value = attention_step_turned(job, angle) * p.scale;
    attention_step_queries[i] = select(vec4<f32>(), value, job.row < place.fresh);
  } else if job.kind < 3u && place.needed && job.row < place.fresh {
    var x = job.x;
    if job.kind == 1u {
      x = attention_step_turned(job, angle);
    }
    let words = attention_step_halves(x);
    attention_step_new[i - 4u * quads] = words;
    if attention_step_stores(place, job.row) {
      let head = place.batch * p.kv_heads + place.kv_head;
      let at = ((head * p.keys + place.past + job.row) * p.dim + job.quad * 4u) / 8u;
      attention_step_keep(select(at, at + p.values / 4u, job.kind == 2u), job.quad, words);
    }
  }
}

// Keys before this one are in the cache.
fn attention_step_stored(place: AttentionStepPlace) -> u32 {
  return min(place.past, place.end);
}

// A chunk as attention_step_load has it, or from the new rows, which begin at `at`.
fn attention_step_fresh(words: vec4<u32>, at: u32, key: u32, chunk: u32, place: AttentionStepPlace) -> vec4<u32> {
  let quads = attention.dim / 4u;
  var result = words;
  if chunk * 2u < quads && key >= place.past && key < place.end {
    let i = at + (key - place.past) * quads + chunk * 2u;
    result = vec4<u32>(attention_step_new[i], attention_step_new[i + 1u]);
  }
  return result;
}
