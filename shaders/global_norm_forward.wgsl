// global_norm_forward: first stage of the norm of all gradients: sums of squares over blocks of BLOCK vectors.
//
// Shapes:    partials: one per block from first_partial: (sum of squares of middling, huge and tiny elements, count of
//            elements that aren't finite); grads: 4 n elements.
// Work:      LANES invocations per block, WG / LANES blocks per workgroup.
// Numerics:  three sums: elements beyond 2^45 are squared after scaling by 2^-70, those below 2^-45 after scaling by
//            2^70, so that no square overflows or vanishes; each lane in order, lanes by a tree.
// Limits:    n < 2^30; more than 65,535 workgroups fold into y.
// Source:    Blue 1978, "A Portable Fortran Program to Find the Euclidean Norm of a Vector".
//: import index lanes
//: variant cpu WG=16u LANES=1u
const WG: u32 = 256u;     //: tune
const LANES: u32 = 256u;  //: tune
const BLOCK: u32 = 1024u;
const HUGE: f32 = 35184372088832.0;              // 2^45
const TINY: f32 = 2.842170943040401e-14;         // 2^-45
const SHRINK: f32 = 8.470329472543003e-22;       // 2^-70
const GROW: f32 = 1180591620717411303424.0;      // 2^70

struct Params { n: u32, first_partial: u32 }
@group(0) @binding(0) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> grads: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let block = linear_group(group_id, num_groups) * (WG / LANES) + local_id / LANES;
    let lane = local_id % LANES;
    // a block past the end is empty, but its lanes must still reach the barriers
    let first = min(block * BLOCK, params.n);
    let end = min(first + BLOCK, params.n);
    var middling = vec4<f32>(0.0);
    var huge = vec4<f32>(0.0);
    var tiny = vec4<f32>(0.0);
    var n_bad = vec4<u32>(0u);
    for (var i = first + lane; i < end; i += LANES) {
        let x = grads[i];
        // an exponent of all ones, NaN or an infinity, detected by its bits
        let is_bad = (bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u);
        n_bad += select(vec4<u32>(0u), vec4<u32>(1u), is_bad);
        let is_huge = abs(x) > vec4<f32>(HUGE);
        let is_tiny = abs(x) < vec4<f32>(TINY);
        let m = select(x, vec4<f32>(0.0), is_huge | is_tiny);
        let h = select(vec4<f32>(0.0), x * SHRINK, is_huge);
        let t = select(vec4<f32>(0.0), x * GROW, is_tiny);
        middling += m * m;
        huge += h * h;
        tiny += t * t;
    }
    let one = vec4<f32>(1.0);
    let result = vec4<f32>(
        lanes_sum(dot(middling, one), local_id),
        lanes_sum(dot(huge, one), local_id),
        lanes_sum(dot(tiny, one), local_id),
        lanes_sum(dot(vec4<f32>(n_bad), one), local_id),
    );
    if lane == 0u && block * BLOCK < params.n {
        partials[params.first_partial + block] = result;
    }
}
