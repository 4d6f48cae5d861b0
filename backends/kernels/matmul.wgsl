// Y [batch, m, n] = alpha A B over batches of two activations, each with steps of its own (transposed or not,
// broadcast or not). Along k one fma after the other.
//
// Bindings: group 0, 0 = a, 1 = b, 2 = y (dense). Parameters: immediate, 64 bytes. Workgroup: 32 x 1 x 1; an
// invocation makes 4 x 4 outputs: x of the grid goes over columns, y over rows in fours, z over batches.

struct MatmulParams {
  m: u32,
  n: u32,
  k: u32,
  alpha: f32,
  a_row: u32,     // elements from row to row
  a_k: u32,
  b_k: u32,
  b_column: u32,
  dim1: u32,      // batches count as [.., dim1, dim2]
  dim2: u32,
  a_step0: u32,   // elements from batch to batch along each of the three
  a_step1: u32,
  a_step2: u32,
  b_step0: u32,
  b_step1: u32,
  b_step2: u32,
}

@group(0) @binding(0) var<storage, read_write> matmul_a: array<f32>;
@group(0) @binding(1) var<storage, read_write> matmul_b: array<f32>;
@group(0) @binding(2) var<storage, read_write> matmul_y: array<f32>;
var<immediate> matmul_params: MatmulParams;

fn matmul_store(batch: u32, row: u32, column: u32, sum: vec4<f32>) {
  let p = matmul_params;
  if row < p.m {
    let at = (batch * p.m + row) * p.n + column;
    for (var i = 0u; i < min(4u, p.n - min(p.n, column)); i += 1u) {
      matmul_y[at + i] = sum[i] * p.alpha;
    }
  }
}

@compute @workgroup_size(32, 1, 1)
fn matmul(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let p = matmul_params;
  let column = (group.x * 32u + t) * 4u;
  let row = group.y * 4u;
  let i2 = group.z % p.dim2;
  let i1 = group.z / p.dim2 % p.dim1;
  let i0 = group.z / p.dim2 / p.dim1;
  let a = i0 * p.a_step0 + i1 * p.a_step1 + i2 * p.a_step2;
  let b = i0 * p.b_step0 + i1 * p.b_step1 + i2 * p.b_step2;
  let last_row = p.m - 1u;
  let a0 = a + row * p.a_row;
  let a1 = a + min(row + 1u, last_row) * p.a_row;
  let a2 = a + min(row + 2u, last_row) * p.a_row;
  let a3 = a + min(row + 3u, last_row) * p.a_row;
  let last = p.n - 1u;
  let b0 = b + min(column, last) * p.b_column;
  let b1 = b + min(column + 1u, last) * p.b_column;
  let b2 = b + min(column + 2u, last) * p.b_column;
  let b3 = b + min(column + 3u, last) * p.b_column;
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  for (var k = 0u; k < p.k; k += 1u) {
    let ka = k * p.a_k;
    let kb = k * p.b_k;
    let w = vec4<f32>(matmul_b[b0 + kb], matmul_b[b1 + kb], matmul_b[b2 + kb], matmul_b[b3 + kb]);
    sum0 = fma(vec4<f32>(matmul_a[a0 + ka]), w, sum0);
    sum1 = fma(vec4<f32>(matmul_a[a1 + ka]), w, sum1);
    sum2 = fma(vec4<f32>(matmul_a[a2 + ka]), w, sum2);
    sum3 = fma(vec4<f32>(matmul_a[a3 + ka]), w, sum3);
  }
  matmul_store(group.z, row, column, sum0);
  matmul_store(group.z, row + 1u, column, sum1);
  matmul_store(group.z, row + 2u, column, sum2);
  matmul_store(group.z, row + 3u, column, sum3);
}
