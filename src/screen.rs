//! The sentences on the five screens: tables 4 to 8 of the assignment, and nothing else.
//!
//! A line is a value; `Display` is its text. The assignment contradicts itself in one place: table 7
//! says "The AWS sent", its example output "The AWS has sent". [`Transcript`] chooses.

use ethnum::I256;
use std::fmt;

/// Which of the assignment's two wordings of the "sent" line is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transcript {
    /// As table 7 has it; terminals "should display the messages shown in table 4, 5, 6, 7 and 8".
    #[default]
    Tables,
    /// As the example output has it.
    Example,
}

/// One line of a course screen. `function` is the reduction type in upper case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Tables 4 to 6: a backend is up.
    ServerUp { name: String, port: u16 },
    /// Tables 4 to 6: a backend has its shard.
    ServerReceived { name: String, count: u64 },
    /// Tables 4 to 6: a backend has its partial result.
    ServerFinished { name: String, function: String, value: I256 },
    /// Tables 4 to 6: AWS has confirmed the partial result.
    ServerSent { name: String },
    /// Table 7: AWS is up.
    AwsUp,
    /// Table 7: all numbers are in.
    AwsReceived { count: u64, port: u16 },
    /// Table 7: a backend has its shard.
    AwsSent { count: u64, name: String, transcript: Transcript },
    /// Table 7: a partial result; `port` is AWS's own UDP port, as in the example.
    AwsResult { function: String, name: String, port: u16, value: I256 },
    /// Table 7: the partials are reduced.
    AwsFinished { function: String, value: I256 },
    /// Table 7: the client has its answer.
    AwsAnswered,
    /// Table 8: the client is up.
    ClientUp,
    /// Table 8: AWS knows the reduction type.
    ClientSentFunction { function: String },
    /// Table 8: AWS has all numbers.
    ClientSentNumbers { count: u64 },
    /// Table 8: the answer.
    ClientReceived { function: String, value: I256 },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::ServerUp { name, port } => {
                write!(f, "The Server {name} is up and running using UDP on port {port}.")
            }
            Line::ServerReceived { name, count } => {
                write!(f, "The Server {name} has received {count} numbers")
            }
            Line::ServerFinished { name, function, value } => {
                write!(
                    f,
                    "The Server {name} has successfully finished the reduction {function}: {value}"
                )
            }
            Line::ServerSent { name } => write!(
                f,
                "The Server {name} has successfully finished sending the reduction value to AWS server."
            ),
            Line::AwsUp => f.write_str("The AWS is up and running."),
            Line::AwsReceived { count, port } => write!(
                f,
                "The AWS has received {count} numbers from the client using TCP over port {port}"
            ),
            Line::AwsSent { count, name, transcript } => {
                let verb = match transcript {
                    Transcript::Tables => "sent",
                    Transcript::Example => "has sent",
                };
                write!(f, "The AWS {verb} {count} numbers to Backend-Server {name}")
            }
            Line::AwsResult { function, name, port, value } => write!(
                f,
                "The AWS received reduction result of {function} from Backend-Server {name} \
                 using UDP over port {port} and it is {value}"
            ),
            Line::AwsFinished { function, value } => {
                write!(f, "The AWS has successfully finished the reduction {function}: {value}")
            }
            Line::AwsAnswered => {
                f.write_str("The AWS has successfully finished sending the reduction value to client.")
            }
            Line::ClientUp => f.write_str("The client is up and running."),
            Line::ClientSentFunction { function } => {
                write!(f, "The client has sent the reduction type {function} to AWS.")
            }
            Line::ClientSentNumbers { count } => {
                write!(f, "The client has sent {count} numbers to AWS")
            }
            Line::ClientReceived { function, value } => {
                write!(f, "The client has received reduction {function}: {value}")
            }
        }
    }
}
