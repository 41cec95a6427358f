// cross_entropy_backward: the gradient of the logits, where the loss's own gradient is 1.
//
// Shapes:    dlogits, logits (n_row, n_col); targets, lse (n_row); scale (1).
// Work:      one invocation per 4 elements, 4 WG elements per workgroup.
// Numerics:  (exp(logit - lse) - onehot) scale; one more addition with ADD. 0 in ignored rows.
// Limits:    n = n_row * n_col < 2^32; a target outside the row is ignored.
// Reference: src/reference/cross_entropy.rs.
//: import index
//: variant cpu WG=256u
const WG: u32 = 64u;      //: tune
const ADD: bool = false;  //: mode false true

struct Params { n: u32, n_col: u32 }
@group(0) @binding(0) var<storage, read_write> dlogits: array<f32>;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let first = linear_group(group_id, num_groups) * WG * 4u + local_id;
    for (var j = 0u; j < 4u; j++) { //: unroll
        let i = first + j * WG;
        if i < params.n {
            let row = i / params.n_col;
            let goal = targets[row];
            var d = 0.0;
            if goal < params.n_col {
                d = exp(logits[i] - lse[row]);
                if i % params.n_col == goal { d -= 1.0; }
                d *= scale[0];
            }
            if ADD { d += dlogits[i]; }
            dlogits[i] = d;
        }
    }
}
