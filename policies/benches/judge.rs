//! What judging a name costs with ten, a thousand and ten thousand hosts.
fn main() {}
