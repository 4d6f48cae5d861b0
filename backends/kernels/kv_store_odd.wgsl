// Stores new rows of keys and values in the cache as float16; heads of odd size, where a word may hold halves of two
// positions. Bindings, parameters, workgroup: include/kv_store.wgsl. An invocation stores one half of either.

@group(0) @binding(5) var<storage, read_write> kv_store_keys: array<atomic<u32>>;
@group(0) @binding(6) var<storage, read_write> kv_store_values: array<atomic<u32>>;

@compute @workgroup_size(64, 1, 1)
fn kv_store_odd(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.y * groups.x * 64u + id.x;
  if i >= kv_store_params.count {
    return;
  }
  let at = kv_store_place(i, 1u);
  if at.stored {
    let word = (at.to + at.d) / 2u;
    let shift = ((at.to + at.d) & 1u) * 16u;
    let others = ~(0xffffu << shift);
    atomicAnd(&kv_store_keys[word], others);
    atomicOr(&kv_store_keys[word], math_f32_to_f16(kv_store_turned(at.source, at.d, at.position)) << shift);
    atomicAnd(&kv_store_values[word], others);
    atomicOr(&kv_store_values[word], math_f32_to_f16(kv_store_v[at.source + at.d]) << shift);
  }
}
