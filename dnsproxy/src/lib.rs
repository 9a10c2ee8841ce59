//! What is asked and answered: no address leaves here before the gate has opened it.
#![forbid(unsafe_code)]
