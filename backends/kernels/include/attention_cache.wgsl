// Keys and values of attention.wgsl from the float16 cache of kv_store.wgsl. Comes after attention_causal.wgsl.
//
// Bindings: group 0, 2 = keys, 3 = values (read) [batch, kv_heads, positions, dim] two halves to a word; some heads of
// them where one binding does not hold the cache: the dispatch is for these.

@group(0) @binding(2) var<storage, read> attention_keys: array<u32>;
@group(0) @binding(3) var<storage, read> attention_values: array<u32>;

// The first head of keys, counted over the batch, that is bound and that the dispatch is for.
fn attention_first_head() -> u32 {
  return attention.mask_head;
}

// Element of the cache: value 4 quad of a key.
fn attention_element(batch: u32, kv_head: u32, key: u32, quad: u32) -> u32 {
  let head = batch * attention.kv_heads + kv_head - attention_first_head();
  return (head * attention.keys + key) * attention.dim + quad * 4u;
}

// Four halves from an element on, out of up to three words; those beyond the head are zero.
fn attention_halves(element: u32, words: vec3<u32>, quad: u32) -> vec4<f32> {
  let a = unpack2x16float(words.x);
  let b = unpack2x16float(words.y);
  var x = vec4<f32>(a, b);
  if (element & 1u) == 1u {
    x = vec4<f32>(a.y, b, unpack2x16float(words.z).x);
  }
  return select(vec4<f32>(), x, vec4<u32>(quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(attention.dim));
}

fn attention_key(batch: u32, kv_head: u32, key: u32, quad: u32) -> vec4<f32> {
  let element = attention_element(batch, kv_head, key, quad);
  let at = element / 2u;
  if (attention.dim & 3u) == 0u {
    return vec4<f32>(unpack2x16float(attention_keys[at]), unpack2x16float(attention_keys[at + 1u]));
  }
  let last = arrayLength(&attention_keys) - 1u;
  let words = vec3<u32>(attention_keys[at], attention_keys[min(at + 1u, last)], attention_keys[min(at + 2u, last)]);
  return attention_halves(element, words, quad);
}

fn attention_value(batch: u32, kv_head: u32, key: u32, quad: u32) -> vec4<f32> {
  let element = attention_element(batch, kv_head, key, quad);
  let at = element / 2u;
  if (attention.dim & 3u) == 0u {
    return vec4<f32>(unpack2x16float(attention_values[at]), unpack2x16float(attention_values[at + 1u]));
  }
  let last = arrayLength(&attention_values) - 1u;
  let words = vec3<u32>(attention_values[at], attention_values[min(at + 1u, last)], attention_values[min(at + 2u, last)]);
  return attention_halves(element, words, quad);
}

fn attention_begin(t: u32, batch: u32, kv_head: u32, needed: bool) {}

fn attention_keep(t: u32, batch: u32, kv_head: u32, first: bool) {}
