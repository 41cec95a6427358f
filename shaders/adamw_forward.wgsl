// adamw_forward: one AdamW update of a slab of parameters and their moments, in place.
//
// Shapes:    weights, moment1, moment2, grads: 4 n elements; norm (4), hyper (8), corrections (4) as in
//            adamw_corrections.
// Work:      one invocation per 4 elements, 4 WG elements per workgroup.
// Numerics:  about 15 f32 operations per element, in PyTorch's order: decay, then the step. If norm[2] says that the
//            gradients aren't finite, nothing is written.
// Limits:    n < 2^30; a clipped gradient is below 1.8e19, as its square must fit. Weight decay applies to elements
//            before n_decay.
// Reference: src/reference/adamw.rs.
//: import index
//: variant cpu WG=256u
const WG: u32 = 64u;      //: tune

struct Params { n: u32, n_decay: u32 }
@group(0) @binding(0) var<storage, read_write> weights: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> moment1: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moment2: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> grads: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> norm: array<f32>;
@group(0) @binding(5) var<storage, read> hyper: array<f32>;
@group(0) @binding(6) var<storage, read> corrections: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let i = linear_group(group_id, num_groups) * WG + local_id;
    if i >= params.n || norm[2] < 0.5 { return; }
    let lr = hyper[0];
    let g = grads[i] * norm[1];
    let m = hyper[1] * moment1[i] + hyper[5] * g;
    let v = hyper[2] * moment2[i] + hyper[6] * g * g;
    moment1[i] = m;
    moment2[i] = v;
    var w = weights[i];
    let decays = vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.n_decay);
    w -= select(vec4<f32>(0.0), lr * hyper[4] * w, decays);
    weights[i] = w - (lr / corrections[0]) * m / (sqrt(v) / sqrt(corrections[1]) + hyper[3]);
}
