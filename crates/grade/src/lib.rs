//! Judges a submission of the course's assignment as a careful TA would.
//!
//! The data flow on one page: [`intake`] takes a folder or an archive in, safely; [`handin`] looks at
//! what was handed in; [`cases`] makes inputs and their exact answers; [`screens`] compares what each
//! terminal showed with tables 4 to 8; [`score`] turns all that into points by the document's rules under
//! a [`policy`]; [`report`] shows them. What travels between these rooms is in [`model`].
//!
//! It sees processes, sockets and screens only: the project's own suite is one more submission to it.

pub mod agent;
pub mod cases;
pub mod class;
pub mod exam;
pub mod handin;
pub mod intake;
pub mod limits;
pub mod model;
pub mod policy;
pub mod repair;
pub mod report;
pub mod sandbox;
pub mod score;
pub mod screens;
