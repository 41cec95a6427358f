// Four channels of the head that begins at an element of `qkv`; those past the head's end are 0, as in the cache.
fn head_quad(start: u32, quad: u32) -> vec4<f32> {
    let c = 4u * quad;
    var four = vec4<f32>(qkv[start + c], 0.0, 0.0, 0.0);
    if c + 1u < params.hs { four.y = qkv[start + c + 1u]; }
    if c + 2u < params.hs { four.z = qkv[start + c + 2u]; }
    if c + 3u < params.hs { four.w = qkv[start + c + 3u]; }
    return four;
}
