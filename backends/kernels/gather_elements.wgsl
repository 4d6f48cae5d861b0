// GatherElements: y[..., i, ...] = x[..., index[..., i, ...], ...], of elements of one or two words in up to
// four dimensions. An index out of range gives `fill`.
//
// Bindings: group 0, 0 = x, 1 = indices (int32 or int64, y's shape), 2 = y (aliases neither). Workgroup: 64 x
// 1 x 1, one element each; a wide dispatch continues in y.

struct GatherElementsParams {
  count: u32,
  dim1: u32,       // y's three inner dimensions
  dim2: u32,
  dim3: u32,
  steps: vec4<u32>, // of x in elements; 0 for the axis
  axis_step: u32,
  dim: u32,        // of the axis in x
  words: u32,
  index_words: u32,
  fill: u32,
}

@group(0) @binding(0) var<storage, read_write> gather_elements_x: array<u32>;
@group(0) @binding(1) var<storage, read_write> gather_elements_indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> gather_elements_y: array<u32>;
var<immediate> gather_elements_params: GatherElementsParams;

@compute @workgroup_size(64, 1, 1)
fn gather_elements(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = gather_elements_params;
  let i = id.y * groups.x * 64u + id.x;
  if i >= p.count {
    return;
  }
  let i2 = i / p.dim3;
  let i1 = i2 / p.dim2;
  let at = vec4<u32>(i1 / p.dim1, i1 % p.dim1, i2 % p.dim2, i % p.dim3);
  var index = gather_elements_indices[i * p.index_words];
  let sign = select(0u, 0xffffffffu, (index & 0x80000000u) != 0u);
  var high = sign;
  if p.index_words == 2u {
    high = gather_elements_indices[2u * i + 1u];
  }
  index += select(0u, p.dim, high == 0xffffffffu);
  let fits = high == sign && index < p.dim;
  let source = dot(at, p.steps) + index * p.axis_step;
  for (var w = 0u; w < p.words; w += 1u) {
    var value = p.fill;
    if fits {
      value = gather_elements_x[source * p.words + w];
    }
    gather_elements_y[i * p.words + w] = value;
  }
}
