//! What the answers and screens must be, computed by the plainest code there is.
//!
//! None of the library's reductions, shards or sentences are used: an oracle that shares the code under
//! test agrees with its bugs.

use ethnum::I256;
use offload::rng::Rng;
use std::ops::Range;

/// The reduction of `numbers`, exactly; of none, what the assignment's sums begin with.
pub fn answer(function: &str, numbers: &[i64]) -> I256 {
    let wide = numbers.iter().map(|&n| I256::from(n));
    match function.to_ascii_uppercase().as_str() {
        "MIN" => wide.min().unwrap_or(I256::from(i64::MAX)),
        "MAX" => wide.max().unwrap_or(I256::from(i64::MIN)),
        "SUM" => wide.fold(I256::ZERO, |sum, n| sum + n),
        "SOS" => wide.fold(I256::ZERO, |sum, n| sum + n * n),
        other => panic!("no reduction is called {other}"),
    }
}

/// `n` numbers dealt to `k` backends in order, sizes differing by at most one, earlier ones larger.
pub fn shards(n: usize, k: usize) -> Vec<Range<usize>> {
    let mut start = 0;
    (0..k)
        .map(|i| {
            let size = n / k + usize::from(i < n % k);
            start += size;
            start - size..start
        })
        .collect()
}

/// `numbers` as the rows of a `nums.csv`.
pub fn text(numbers: &[i64]) -> String {
    let mut text = String::with_capacity(numbers.len() * 8);
    for n in numbers {
        text += &n.to_string();
        text.push('\n');
    }
    text
}

/// `count` numbers of full range.
pub fn random(seed: u64, count: usize) -> Vec<i64> {
    let mut rng = Rng::from_seed(seed);
    (0..count).map(|_| rng.u64() as i64).collect()
}

/// Table 8.
pub fn client_screen(function: &str, numbers: &[i64]) -> String {
    let upper = function.to_ascii_uppercase();
    format!(
        "The client is up and running.\n\
         The client has sent the reduction type {upper} to AWS.\n\
         The client has sent {} numbers to AWS\n\
         The client has received reduction {upper}: {}\n",
        numbers.len(),
        answer(function, numbers)
    )
}

/// Tables 4 to 6, the three lines of one job.
pub fn backend_lines(name: &str, function: &str, shard: &[i64]) -> String {
    let upper = function.to_ascii_uppercase();
    format!(
        "The Server {name} has received {} numbers\n\
         The Server {name} has successfully finished the reduction {upper}: {}\n\
         The Server {name} has successfully finished sending the reduction value to AWS server.\n",
        shard.len(),
        answer(function, shard)
    )
}

/// Table 7, the lines of one job.
pub fn aws_lines(function: &str, numbers: &[i64], tcp: u16, udp: u16) -> String {
    let upper = function.to_ascii_uppercase();
    let n = numbers.len();
    let dealt: Vec<(&str, Range<usize>)> = ["A", "B", "C"].into_iter().zip(shards(n, 3)).collect();
    let mut text =
        format!("The AWS has received {n} numbers from the client using TCP over port {tcp}\n");
    for (name, shard) in &dealt {
        text += &format!("The AWS sent {} numbers to Backend-Server {name}\n", shard.len());
    }
    for (name, shard) in dealt {
        text += &format!(
            "The AWS received reduction result of {upper} from Backend-Server {name} \
             using UDP over port {udp} and it is {}\n",
            answer(function, &numbers[shard])
        );
    }
    text += &format!(
        "The AWS has successfully finished the reduction {upper}: {}\n",
        answer(function, numbers)
    );
    text + "The AWS has successfully finished sending the reduction value to client.\n"
}
