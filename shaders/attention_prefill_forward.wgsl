// attention_prefill_forward: the keys and values of a prompt, copied into the cache.
//
// Shapes:    cache (B, NH, 2, block, 4 quads), keys before values; qkv (B, T, 3 NH HS); fed (B): row b's first fed[b]
//            positions are copied, none if it is 0.
// Work:      one invocation per 4 elements of the cache.
// Numerics:  a copy; channels past a head's end are 0.
// Limits:    the cache has fewer than 2^32 elements; T is at most block; more than 65,535 workgroups fold into y.
// Reference: src/reference/attention/decode.rs.
//: import index attention_cache
//: variant cpu WG=256u
const WG: u32 = 64u;           //: tune

struct Params { n: u32, t: u32, n_head: u32, hs: u32, quads: u32, block: u32 }
@group(0) @binding(0) var<storage, read_write> cache: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> fed: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let i = linear_group(group_id, num_groups) * WG + local_id;
    if i >= params.n { return; }
    // quads of (B, T, 2, NH), as they lie in qkv
    let quad = i % params.quads;
    let head = i / params.quads % params.n_head;
    let kind = i / (params.quads * params.n_head) % 2u;
    let at = i / (params.quads * params.n_head * 2u);
    let row = at / params.t;
    let position = at % params.t;
    if position >= fed[row] { return; }
    let c = params.n_head * params.hs;
    let to = ((row * params.n_head + head) * 2u + kind) * params.block + position;
    cache[to * params.quads + quad] = head_quad(at * 3u * c + (1u + kind) * c + head * params.hs, quad);
}
