// Stores new rows of keys and values in the cache as float16; heads of even size. Bindings, parameters, workgroup:
// include/kv_store.wgsl. An invocation stores one word of either.

@group(0) @binding(5) var<storage, read_write> kv_store_keys: array<u32>;
@group(0) @binding(6) var<storage, read_write> kv_store_values: array<u32>;

fn kv_store_pair(a: f32, b: f32) -> u32 {
  return math_f32_to_f16(a) | (math_f32_to_f16(b) << 16u);
}

@compute @workgroup_size(64, 1, 1)
fn kv_store(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.y * groups.x * 64u + id.x;
  if i >= kv_store_params.count {
    return;
  }
  let at = kv_store_place(i, 2u);
  if at.stored {
    let word = (at.to + at.d) / 2u;
    kv_store_keys[word] = kv_store_pair(kv_store_turned(at.source, at.d, at.position),
                                        kv_store_turned(at.source, at.d + 1u, at.position));
    kv_store_values[word] = kv_store_pair(kv_store_v[at.source + at.d], kv_store_v[at.source + at.d + 1u]);
  }
}
