//! Downloads from a server that breaks every promise of HTTP: the right bytes come, or an error
//! that names object, range and cause, and the buffer is back in either case.

mod faults {
    pub mod answer;
    mod bodies;
    pub mod case;
    mod connections;
    pub mod fault;
    mod headers;
    mod leak;
    mod limits;
    pub mod object;
    mod polls;
    pub mod request;
    pub mod server;
    mod server_test;
    pub mod site;
    mod statuses;
}
