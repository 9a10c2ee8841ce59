//! The proxy over real sockets on loopback, between a scripted upstream and a scripted gate. Needs no rights.

mod answers;
mod gate;
mod gate_order;
mod hostile_app;
mod hostile_upstream;
mod limits;
mod refusals;
mod transports;
mod upstream;
mod upstreams;
mod world;
