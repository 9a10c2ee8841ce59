//! The only unsafe of the workspace: a safe vocabulary over libnftnl and libmnl.
