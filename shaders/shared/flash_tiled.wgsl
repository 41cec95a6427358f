// Flash attention through workgroup memory. A workgroup owns TILE rows of a head and takes OTHER rows of the other side
// at a time. Of the scores between them an invocation holds 4 x 4: of rows y + 8 i and columns 4 x to 4 x + 3. Of a
// product with OTHER rows it holds ROWS rows, ID_GROUPS apart, and FOURS vec4 of channels, D apart.
//: import flash
const TILE: u32 = 32u;
const OTHER: u32 = 64u;
const WG: u32 = 128u;
// the head size, rounded up to one of these, in units of 4
const HS4: u32 = 16u;  //: mode 8u 16u 24u 32u
const D: u32 = select(16u, 8u, HS4 % 16u > 0u);
const FOURS: u32 = HS4 / D;
const GROUPS: u32 = WG / D;
const ROWS: u32 = TILE / GROUPS;
const N_SUM: u32 = ROWS * FOURS;
// vec4 of channels that scores are summed over at a time; SLICE_LD has one more, so that rows begin in different banks
const SLICE: u32 = 8u;
const SLICE_LD: u32 = SLICE + 1u;
const SCORES_LD: u32 = OTHER / 4u + 1u;
// rows that a product sums over at a time
const PIECE: u32 = select(16u, 8u, HS4 > 16u);
// holds slices of own and other rows, then scores and a piece of other rows
const OTHER_AT: u32 = TILE * SLICE_LD;
const PIECE_AT: u32 = TILE * SCORES_LD;
const N_SHARED: u32 = max(OTHER_AT + OTHER * SLICE_LD, PIECE_AT + PIECE * HS4);
var<workgroup> shared_fours: array<vec4<f32>, N_SHARED>;
var<workgroup> quarters: array<f32, WG>;

// Start of a slice of one of the other rows. The rows that one invocation takes are 16 apart, so that neighbours read
// neighbouring rows.
fn other_at(row: u32) -> u32 {
    return OTHER_AT + (row % 4u * 16u + row / 4u) * SLICE_LD;
}

// Adds the products over a slice of channels to the 4 x 4 scores.
fn add_scores(scores: ptr<function, array<vec4<f32>, 4>>, x: u32, y: u32) {
    for (var c = 0u; c < SLICE; c++) {
        let at = OTHER_AT + x * SLICE_LD + c;
        let k0 = shared_fours[at];
        let k1 = shared_fours[at + 16u * SLICE_LD];
        let k2 = shared_fours[at + 32u * SLICE_LD];
        let k3 = shared_fours[at + 48u * SLICE_LD];
        for (var i = 0u; i < 4u; i++) { //: unroll
            let q = shared_fours[(y + 8u * i) * SLICE_LD + c];
            var sums = (*scores)[i];
            sums = fma(vec4<f32>(q.x), vec4<f32>(k0.x, k1.x, k2.x, k3.x), sums);
            sums = fma(vec4<f32>(q.y), vec4<f32>(k0.y, k1.y, k2.y, k3.y), sums);
            sums = fma(vec4<f32>(q.z), vec4<f32>(k0.z, k1.z, k2.z, k3.z), sums);
            sums = fma(vec4<f32>(q.w), vec4<f32>(k0.w, k1.w, k2.w, k3.w), sums);
            (*scores)[i] = sums;
        }
    }
}

// Adds the products of a piece of other rows with the scores from column `first` on.
fn add_products(products: ptr<function, array<vec4<f32>, N_SUM>>, id: u32, first: u32) {
    for (var j = 0u; j < PIECE / 4u; j++) {
        for (var f = 0u; f < 3u; f++) { //: unroll
            if f < FOURS {
                let at = PIECE_AT + 4u * j * HS4 + id % D + D * f;
                let v0 = shared_fours[at];
                let v1 = shared_fours[at + HS4];
                let v2 = shared_fours[at + 2u * HS4];
                let v3 = shared_fours[at + 3u * HS4];
                for (var i = 0u; i < 4u; i++) { //: unroll
                    if i < ROWS {
                        let p = shared_fours[(id / D + GROUPS * i) * SCORES_LD + first / 4u + j];
                        var sums = (*products)[i % ROWS * FOURS + f % FOURS];
                        sums = fma(vec4<f32>(p.x), v0, sums);
                        sums = fma(vec4<f32>(p.y), v1, sums);
                        sums = fma(vec4<f32>(p.z), v2, sums);
                        sums = fma(vec4<f32>(p.w), v3, sums);
                        (*products)[i % ROWS * FOURS + f % FOURS] = sums;
                    }
                }
            }
        }
    }
}
