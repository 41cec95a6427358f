// Flash attention for devices without fast workgroup memory: no barrier, and rows of heads kept in registers. A lane
// owns OWN rows. The other side comes in rounds of ROUND rows. With subgroups, these are spread over the lanes, LANES /
// ROUND per row, and passed on by shuffles with a constant index; without, every lane loads them.
//: import flash
//: variant cpu8x4 SUBGROUP=8u SHUFFLE=1u PLAIN=0u OWN=4u
//: variant cpu8x2 SUBGROUP=8u SHUFFLE=1u PLAIN=0u OWN=2u
//: variant cpu8x1 SUBGROUP=8u SHUFFLE=1u PLAIN=0u OWN=1u
//: variant cpu16x4 SUBGROUP=16u LANES=16u SHUFFLE=1u PLAIN=0u OWN=4u
//: variant cpu16x2 SUBGROUP=16u LANES=16u SHUFFLE=1u PLAIN=0u OWN=2u
//: variant cpu16x1 SUBGROUP=16u LANES=16u SHUFFLE=1u PLAIN=0u OWN=1u
const SUBGROUP: u32 = 0u;     //: tune
// loops of one iteration or none, since devices without subgroups reject code that contains shuffles
const SHUFFLE: u32 = 0u;      //: tune
const PLAIN: u32 = 1u;        //: tune
const OWN: u32 = 1u;          //: tune
const LANES: u32 = 8u;        //: tune
const ROUND: u32 = 4u;        //: tune
// the head size, rounded up to one of these, in units of 4
const HS4: u32 = 16u;         //: mode 4u 8u 12u 16u 24u 32u
const TILE: u32 = LANES * OWN;
const N_OWN: u32 = OWN * HS4;
// the vec4 of a row that a lane loads
const PART: u32 = HS4 * ROUND / LANES;

// The lane's i-th own row, which may lie past the end.
fn own_row(tile: Tile, lane: u32, i: u32) -> u32 {
    return tile.first + i * LANES + lane;
}
