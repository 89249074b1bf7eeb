//! Downloads from a server that breaks every promise of HTTP. Each download returns the right
//! bytes, or an error that names the object, the range and the cause. In both cases its buffer is
//! returned.

mod faults {
    mod answers;
    mod connections;
    pub mod fault;
    pub mod harness;
    pub mod http;
    mod leak;
    mod limits;
    mod names;
    pub mod object;
    pub mod server;
    mod server_test;
    mod statuses;
    mod streams;
    mod web_answers;
    pub mod web_server;
}
