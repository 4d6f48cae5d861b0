// What attention_step.wgsl reads, where the product that made them has rotated the only row's queries and stored its key and
// value in the cache (linear_dot_rotary.wgsl): nothing is staged but queries, and nothing of it is written.
//
// Bindings: group 0, 2 = (past, fresh) of each sequence (read), 3 = the cache; 4 .. 6 = the end's, 7 = a chain's counters
// (chain.wgsl).

const ATTENTION_STEP_FRESH: bool = false;
const ATTENTION_STEP_POSITIONS: u32 = 2u;
const ATTENTION_STEP_END: u32 = 4u;
const CHAIN_BINDING: u32 = 7u;

@coherent @group(0) @binding(0) var<storage, read_write> attention_step_q: array<vec4<f32>>;
@coherent @group(0) @binding(3) var<storage, read_write> attention_step_cache: array<vec4<u32>>;

// There is one sequence, and one row of it: nothing is divided to find either.
fn attention_step_batch(y: u32) -> u32 {
  return 0u;
}

fn attention_step_at(batch: u32, kv_head: u32, query: u32) -> u32 {
  return (kv_head * attention.group + query) * attention.dim;
}

// A quad of the workgroup's four queries.
struct AttentionStepJob {
  x: vec4<f32>,
}

// So many there are.
fn attention_step_jobs() -> u32 {
  return attention.dim;
}

fn attention_step_ask(i: u32, batch: u32, kv_head: u32, first_query: u32) -> AttentionStepJob {
  let quads = attention.dim / 4u;
  let line = attention_step_line(i);
  let query = first_query + line;
  var job: AttentionStepJob;
  if line < 4u && query < attention.group {
    job.x = attention_step_q[attention_step_at(batch, kv_head, query) / 4u + i - line * quads];
  }
  return job;
}

struct AttentionStepAngle {
  none: u32,
}

fn attention_step_angle(job: AttentionStepJob, place: AttentionStepPlace) -> AttentionStepAngle {
  return AttentionStepAngle(0u);
}

fn attention_step_stage(job: AttentionStepJob, angle: AttentionStepAngle, i: u32, place: AttentionStepPlace) {
  if i < attention_step_jobs() {
    attention_step_queries[i] = select(vec4<f32>(), job.x * attention.scale, place.fresh > 0u);
  }
}

// Keys before this one are in the cache.
fn attention_step_stored(place: AttentionStepPlace) -> u32 {
  return min(place.end, attention.keys);
}

fn attention_step_fresh(words: vec4<u32>, at: u32, key: u32, chunk: u32, place: AttentionStepPlace) -> vec4<u32> {
  return words;
}
