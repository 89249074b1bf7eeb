//! Downloads from a server that breaks every promise of HTTP: the right bytes come, or an error that names object, range and cause, and the
//! buffer is back in either case.

mod faults {
    pub mod answer;
    pub mod fault;
    pub mod object;
    pub mod request;
    pub mod server;
    mod server_test;
}
