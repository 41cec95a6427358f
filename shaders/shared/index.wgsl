// Unfolds the 2-D dispatches of `groups_1d` and `groups_rows`: the index of a workgroup among all of them.
fn linear_group(group_id: vec3<u32>, num_groups: vec3<u32>) -> u32 {
    return group_id.y * num_groups.x + group_id.x;
}
