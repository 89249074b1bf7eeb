//! Objects by their URLs, each in one pooled buffer:
//! `cargo run -p slipring-objects --example download -- s3://bucket/key FILE ...`
//!
//! Without arguments it fetches a file of its own, so that it runs anywhere.

use std::error::Error;

use slipring_objects::Stores;

fn main() -> Result<(), Box<dyn Error>> {
    run(std::env::args().skip(1).collect())
}

fn run(mut urls: Vec<String>) -> Result<(), Box<dyn Error>> {
    let own = std::env::temp_dir().join(format!("slipring-download-{}", std::process::id()));
    if urls.is_empty() {
        std::fs::write(&own, vec![7; 20 << 20])?;
        urls = vec![own.display().to_string(); 3];
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(download(&urls));
    if own.exists() {
        std::fs::remove_file(&own)?;
    }
    ended
}

async fn download(urls: &[String]) -> Result<(), Box<dyn Error>> {
    // Endpoint and credentials as object_store finds them: AWS_ENDPOINT, AWS_ACCESS_KEY_ID, ... By
    // default into buffers of 1 to 256 MiB, 16 of each class at most; beyond that they are
    // allocated.
    let stores = Stores::from_env();
    for url in urls {
        let object = stores.download(url).await?;
        let path = &object.meta.location;
        let stats = object.stats;
        println!(
            "{path}: {} bytes in {} ranges, {} retries, pool {}",
            stats.bytes, stats.ranges, stats.retries, stats.pool
        );
        // Dropped here: the buffer is free for the next object.
    }
    let pool = stores.engine().buffer_pool().expect("it is on by default");
    let classes = pool.stats().classes;
    assert!(classes.iter().all(|class| class.in_use == 0), "every buffer is back");
    println!(
        "{} objects, {} buffers reused",
        urls.len(),
        classes.iter().map(|class| class.hits).sum::<u64>()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() {
        super::run(Vec::new()).unwrap();
    }
}
