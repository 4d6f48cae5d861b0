// The sum of what all invocations of a workgroup give, each subgroup's in the device's order, then subgroup after
// subgroup. All of them call, and get it. At most 256 invocations.

var<workgroup> workgroup_parts: array<f32, 256>;  // per subgroup

fn workgroup_total(part: f32, subgroup: u32, subgroups: u32, lane: u32) -> f32 {
  let own = subgroupAdd(part);
  if lane == 0u {
    workgroup_parts[subgroup] = own;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < subgroups; i += 1u) {
    total += workgroup_parts[i];
  }
  return total;
}
