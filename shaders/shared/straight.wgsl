// Straight-line code for llvmpipe from Mesa 26 on: see matmul_straight.

// No index is larger, and the compiler can't know the value: with it, LLVM knows that sums of indices don't overflow,
// and that elements with consecutive indices are neighbours.
const FAR: u32 = 0x0fffffffu;

// Selects each lane's number of eight. If they are loaded from neighbouring elements, LLVM makes one load of it.
fn by_lane(lane: u32, low: vec4<f32>, high: vec4<f32>) -> f32 {
    var x = low.x;
    x = select(x, low.y, lane == 1u);
    x = select(x, low.z, lane == 2u);
    x = select(x, low.w, lane == 3u);
    x = select(x, high.x, lane == 4u);
    x = select(x, high.y, lane == 5u);
    x = select(x, high.z, lane == 6u);
    return select(x, high.w, lane == 7u);
}
