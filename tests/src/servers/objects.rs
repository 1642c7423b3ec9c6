//! Objects behind as much of S3's protocol as a vault uses.

use std::collections::{BTreeMap, BTreeSet};

use url::form_urlencoded::parse;

use super::http::Request;

/// Names in one answer to a listing.
const PAGE: usize = 1000;

/// What the server answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// A parameter of a request.
fn of_query(request: &Request, name: &str) -> Option<String> {
    parse(request.query.as_bytes()).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

impl Reply {
    /// An answer without success, in S3's words; without any where `code` is empty. `more` are further elements.
    pub(crate) fn refusal(status: u16, code: &str, more: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>Told by a test.</Message>{more}</Error>"
        );
        Self { status, headers: Vec::new(), body: if code.is_empty() { Vec::new() } else { body.into_bytes() } }
    }

    fn xml(body: String) -> Self {
        Self { status: 200, headers: vec![("content-type", "application/xml".to_owned())], body: body.into_bytes() }
    }
}

/// The objects of one bucket, by their keys.
#[derive(Debug, Default)]
pub struct Objects {
    objects: BTreeMap<String, Vec<u8>>,
    /// Parts of objects to be, by upload and number.
    parts: BTreeMap<(String, u32), Vec<u8>>,
    uploads: u32,
}

impl Objects {
    /// The bytes of an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.objects.get(key).map(Vec::as_slice)
    }

    /// The keys of all objects.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.objects.keys().map(String::as_str)
    }

    /// Puts an object there, whatever is there.
    pub fn replace(&mut self, key: &str, bytes: &[u8]) {
        self.objects.insert(key.to_owned(), bytes.to_vec());
    }

    /// Does what the request asks for.
    pub(crate) fn serve(&mut self, request: &Request) -> Reply {
        let mut parts = request.path.splitn(3, '/').skip(1);
        let (_bucket, key) = (parts.next(), parts.next().unwrap_or_default());
        match (request.method.as_str(), key) {
            ("GET", "") => self.list(request),
            ("POST", "") if request.query.starts_with("delete") => self.delete_all(request),
            ("POST", key) => self.upload(key, request),
            ("PUT", _) if request.query.contains("uploadId=") => self.put_part(request),
            ("DELETE", _) if request.query.contains("uploadId=") => self.abort(request),
            ("PUT", key) => self.put(key, request),
            ("GET" | "HEAD", key) => self.read(key, request),
            _ => Reply::refusal(501, "NotImplemented", ""),
        }
    }

    fn put(&mut self, key: &str, request: &Request) -> Reply {
        if request.header("if-none-match") == Some("*") && self.objects.contains_key(key) {
            return Reply::refusal(412, "PreconditionFailed", "");
        }
        self.replace(key, &request.body);
        Reply { status: 200, headers: vec![("etag", etag(&request.body))], body: Vec::new() }
    }

    /// Begins an object in parts, or completes it.
    fn upload(&mut self, key: &str, request: &Request) -> Reply {
        let Some(upload) = of_query(request, "uploadId") else {
            self.uploads += 1;
            let id = self.uploads;
            return Reply::xml(format!(
                "<InitiateMultipartUploadResult><UploadId>upload-{id}</UploadId></InitiateMultipartUploadResult>"
            ));
        };
        let parts: Vec<_> = self.parts.extract_if(.., |(of, _), _| *of == upload).map(|(_, bytes)| bytes).collect();
        let named = String::from_utf8_lossy(&request.body).matches("<PartNumber>").count();
        if parts.is_empty() || parts.len() != named {
            return Reply::refusal(404, "NoSuchUpload", "");
        }
        let bytes = parts.concat();
        self.replace(key, &bytes);
        Reply::xml(format!("<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>", etag(&bytes)))
    }

    fn put_part(&mut self, request: &Request) -> Reply {
        let number = of_query(request, "partNumber").and_then(|number| number.parse().ok());
        let (Some(upload), Some(number)) = (of_query(request, "uploadId"), number) else {
            return Reply::refusal(400, "InvalidArgument", "");
        };
        self.parts.insert((upload, number), request.body.clone());
        Reply { status: 200, headers: vec![("etag", etag(&request.body))], body: Vec::new() }
    }

    fn abort(&mut self, request: &Request) -> Reply {
        let upload = of_query(request, "uploadId");
        self.parts.retain(|(of, _), _| Some(of) != upload.as_ref());
        Reply { status: 204, ..Reply::default() }
    }

    fn read(&self, key: &str, request: &Request) -> Reply {
        let Some(bytes) = self.objects.get(key) else { return Reply::refusal(404, "NoSuchKey", "") };
        let modified = ("last-modified", "Sun, 01 Mar 2026 12:00:00 GMT".to_owned());
        let mut headers = vec![("etag", etag(bytes)), modified];
        let Some(range) = request.header("range").and_then(|range| range.strip_prefix("bytes=")) else {
            return Reply { status: 200, headers, body: bytes.clone() };
        };
        let (first, last) = range.split_once('-').unwrap_or((range, ""));
        let first: usize = first.parse().unwrap_or(0);
        let end = last.parse::<usize>().map_or(bytes.len(), |last| bytes.len().min(last + 1));
        if first >= end {
            return Reply::refusal(416, "InvalidRange", "");
        }
        headers.push(("content-range", format!("bytes {first}-{}/{}", end - 1, bytes.len())));
        Reply { status: 206, headers, body: bytes[first..end].to_vec() }
    }

    fn delete_all(&mut self, request: &Request) -> Reply {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let keys = body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        let mut deleted = String::new();
        for key in keys {
            self.objects.remove(key);
            deleted.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>"));
        }
        Reply::xml(format!("<DeleteResult>{deleted}</DeleteResult>"))
    }

    fn list(&self, request: &Request) -> Reply {
        let asked: BTreeMap<String, String> = parse(request.query.as_bytes()).into_owned().collect();
        let asked = |name: &str| asked.get(name).map_or("", String::as_str);
        let (prefix, delimiter, after) = (asked("prefix"), asked("delimiter"), asked("continuation-token"));
        let (mut objects, mut folders, mut last, mut more) = (String::new(), BTreeSet::new(), "", false);
        let mut count = 0;
        for (key, bytes) in &self.objects {
            if !key.starts_with(prefix) || key.as_str() <= after {
                continue;
            }
            if count == PAGE {
                more = true;
                break;
            }
            last = key;
            match key[prefix.len()..].split_once(delimiter).filter(|_| !delimiter.is_empty()) {
                Some((folder, _)) => count += usize::from(folders.insert(format!("{prefix}{folder}{delimiter}"))),
                None => {
                    count += 1;
                    objects.push_str(&format!(
                        "<Contents><Key>{key}</Key><LastModified>2026-03-01T12:00:00.000Z</LastModified><Size>{}</Size></Contents>",
                        bytes.len()
                    ));
                }
            }
        }
        let folders: String =
            folders.iter().map(|folder| format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>")).collect();
        let next = if more { format!("<NextContinuationToken>{last}</NextContinuationToken>") } else { String::new() };
        Reply::xml(format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>{next}{objects}{folders}</ListBucketResult>"))
    }
}

/// Different for different bytes, as far as the tests go.
fn etag(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    format!("\"{sum:016x}-{}\"", bytes.len())
}
