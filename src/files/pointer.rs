//! Recognises pointers that Git LFS leaves in the place of large files.
//!
//! Source: the specification of Git LFS, `docs/spec.md`.

/// Says what a file with these first bytes is and what to do if it is a pointer.
pub(crate) fn lfs_pointer(head: &[u8]) -> Option<&'static str> {
    head.starts_with(b"version https://git-lfs.github.com/spec/")
        .then_some("is a Git LFS pointer, not the file itself; run git lfs pull in its folder, or download it")
}
