//! The environment that the injector's image gives to it: what is measured here is to be what runs there.

/// Each variable of the Containerfile's last stage but PATH, which is the image's own.
pub(super) fn environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = include_str!("../../../../images/injector.Containerfile").lines();
    lines.filter_map(|line| line.strip_prefix("ENV ")?.split_once('=')).filter(|(name, _)| *name != "PATH")
}
