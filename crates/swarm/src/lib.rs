//! Stages datasets and directory images on many hosts by BitTorrent.
//!
//! The data flow on one page: [`image`] makes one file of a directory, [`metainfo`] cuts it in pieces
//! and names them by an info-hash; the image server hands the metainfo out and runs a [`tracker`] and the
//! first seeder. On every host a [`peer::Session`] decides what to ask of whom and whom to serve; [`io`]
//! drives it on real sockets ([`wire`] has the bytes) and keeps verified pieces on disk; [`image`] unpacks
//! the whole and seeds until nobody needs it. [`sim`] drives the same sessions on virtual time.
//!
//! The sources are the BitTorrent enhancement proposals (BEP) named where each is implemented.

pub mod bencode;
pub mod bitfield;
pub mod dataset;
pub mod geometry;
pub mod id;
pub mod image;
pub mod io;
pub mod limits;
pub mod magnet;
pub mod metainfo;
pub mod peer;
pub mod sim;
pub mod tracker;
pub mod wire;
