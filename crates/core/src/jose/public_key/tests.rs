//! Keys that OpenSSL 3.0 generated, with the JWKs that Node.js makes of them.

use super::*;
use crate::jose::algorithm::Algorithm;
use crate::jose::jwks::{Jwks, KeyFault};
use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn member<'j>(jwk: &'j Map<String, Value>, name: &str) -> Option<&'j str> {
    jwk.get(name).and_then(Value::as_str)
}

#[test]
fn pem_of_each_type_is_the_jwk_that_node_makes_of_it() {
    for (pem, kty, crv, members) in [
        (P256, "EC", Some("P-256"), &[("x", P256_X), ("y", P256_Y)][..]),
        (P384, "EC", Some("P-384"), &[("x", P384_X), ("y", P384_Y)]),
        (P521, "EC", Some("P-521"), &[("x", P521_X), ("y", P521_Y)]),
        (ED25519, "OKP", Some("Ed25519"), &[("x", ED25519_X)]),
        (RSA_2048, "RSA", None, &[("n", RSA_2048_N), ("e", "AQAB")]),
        (RSA_4096, "RSA", None, &[("n", RSA_4096_N), ("e", "Aw")]),
    ] {
        for text in [pem.to_owned(), format!("\n {pem}  \n"), pem.replace('\n', "\r\n")] {
            let jwk = jwk_of_pem(&text).unwrap();
            assert_eq!((member(&jwk, "kty"), member(&jwk, "crv")), (Some(kty), crv));
            for (name, value) in members {
                assert_eq!(member(&jwk, name), Some(*value), "{kty} {name}");
            }
            assert_eq!(jwk.len(), members.len() + 1 + usize::from(crv.is_some()));
        }
    }
}

#[test]
fn key_is_for_the_one_algorithm_that_fits_it() {
    use Algorithm::{EdDsa, Es256, Es384, Es512, Ps256, Rs256};
    let all = [EdDsa, Es256, Es384, Es512, Rs256];
    for (pem, algorithm) in
        [(P256, Es256), (P384, Es384), (P521, Es512), (ED25519, EdDsa), (RSA_2048, Rs256)]
    {
        let load = |allowed: &[Algorithm]| Jwks::of_key(&jwk_of_pem(pem).unwrap(), allowed);
        assert_eq!(load(&all).unwrap().keys()[0].algorithm, algorithm);
        let others: Vec<Algorithm> = all.into_iter().filter(|own| *own != algorithm).collect();
        assert_eq!(load(&others), Err(KeyFault::AlgorithmAmbiguous), "{algorithm:?}");
    }
    let load = |pem, allowed: &[Algorithm]| Jwks::of_key(&jwk_of_pem(pem).unwrap(), allowed);
    assert_eq!(load(RSA_2048, &[Rs256, Ps256]), Err(KeyFault::AlgorithmAmbiguous));
    assert_eq!(load(RSA_2048, &[Ps256]).unwrap().keys()[0].algorithm, Ps256);
    assert_eq!(load(RSA_1024, &[Rs256]), Err(KeyFault::RsaModulusLength));
}

#[test]
fn other_text_is_not_a_public_key() {
    for (what, text) in [
        ("a compressed point", COMPRESSED),
        ("another curve", SECP256K1),
        ("a key that signs nothing", X25519),
        ("a key for RSA-PSS alone", RSA_PSS),
        ("a key of PKCS #1", PKCS1),
        ("nothing", ""),
        (
            "a JWK",
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        ),
    ] {
        assert_eq!(jwk_of_pem(text), None, "{what}");
    }
    for pem in [P256, P384, P521, ED25519, RSA_2048] {
        let (first, rest) = pem.split_once('\n').unwrap();
        for other in [
            pem.replace("PUBLIC", "PRIVATE"),
            pem.replace("PUBLIC KEY", "CERTIFICATE"),
            pem.replacen("-----BEGIN", "----BEGIN", 1),
            pem.replace("-----END PUBLIC KEY-----", ""),
            rest.to_owned(),
            [pem, pem].concat(),
            format!("{first}\nProc-Type: 4,ENCRYPTED\n\n{rest}"),
            format!("{first}\n-----END PUBLIC KEY-----"),
            pem.replacen("\nM", "\n_", 1),
        ] {
            assert_eq!(jwk_of_pem(&other), None, "{other}");
        }
    }
}

fn der(pem: &str) -> Vec<u8> {
    let lines = pem.lines().filter(|line| !line.starts_with('-'));
    STANDARD.decode(lines.collect::<String>()).unwrap()
}

/// A changed byte makes the key malformed, or another one: it is never ignored.
#[test]
fn every_byte_of_a_key_counts() {
    for pem in [P256, P384, P521, ED25519, RSA_2048, RSA_1024, RSA_4096] {
        let good = der(pem);
        let jwk = jwk_of_der(&good).unwrap();
        for at in 0..good.len() {
            assert_eq!(jwk_of_der(&good[..at]), None, "cut at {at}");
            for change in [0x01, 0x80, 0xff] {
                let mut other = good.clone();
                other[at] ^= change;
                assert_ne!(jwk_of_der(&other).as_ref(), Some(&jwk), "byte {at} of {pem}");
            }
        }
        for tail in [&[0][..], &[0, 0], &good] {
            assert_eq!(jwk_of_der(&[&good[..], tail].concat()), None);
        }
    }
}

#[test]
fn number_and_length_have_their_shortest_form() {
    let rsa = |n: &[u8], e: &[u8]| {
        let integer =
            |bytes: &[u8]| [&[INTEGER, u8::try_from(bytes.len()).unwrap()], bytes].concat();
        let key = [integer(n), integer(e)].concat();
        let wrap = |tag: u8, content: &[u8]| {
            [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
        };
        let bits = wrap(BIT_STRING, &[&[0], &wrap(SEQUENCE, &key)[..]].concat());
        wrap(SEQUENCE, &[RSA, &bits].concat())
    };
    let good = rsa(&[0, 0x80], &[3]);
    let expect = json!({ "kty": "RSA", "n": "gA", "e": "Aw" });
    assert_eq!(jwk_of_der(&good).map(Value::Object), Some(expect));
    for (n, e) in [
        (&[0, 0x7f][..], &[3][..]),
        (&[0x80], &[3]),
        (&[0], &[3]),
        (&[], &[3]),
        (&[0, 0, 0x80], &[3]),
        (&[0, 0x80], &[0, 3]),
        (&[0, 0x80], &[0xff]),
        (&[0, 0x80], &[]),
    ] {
        assert_eq!(jwk_of_der(&rsa(n, e)), None, "{n:?} {e:?}");
    }
    // The same length in more bytes than it needs, or in none.
    let content = &good[2..];
    let length = good[1];
    for head in [
        &[SEQUENCE, 0x81, length][..],
        &[SEQUENCE, 0x82, 0, length],
        &[SEQUENCE, 0x83, 0, 0, length],
        &[SEQUENCE, 0x80],
        &[SEQUENCE, 0xff, length],
        &[SEQUENCE | 1, length],
    ] {
        assert_eq!(jwk_of_der(&[head, content].concat()), None, "{head:x?}");
    }
    let long = der(RSA_1024);
    assert_eq!(long[..3], [SEQUENCE, 0x81, 0x9f]);
    assert!(jwk_of_der(&long).is_some());
    let longer = [&[SEQUENCE, 0x82, 0x00, 0x9f], &long[3..]].concat();
    assert_eq!(jwk_of_der(&longer), None);
}

#[cfg(not(target_arch = "wasm32"))]
proptest::proptest! {
    #[test]
    fn reading_never_panics(der in proptest::collection::vec(0u8.., 0..80), text in "[ -~\n]{0,80}") {
        let _ = jwk_of_der(&der);
        let _ = jwk_of_der(&[RSA, &der].concat());
        let _ = jwk_of_pem(&format!("{BEGIN}{text}{END}"));
    }
}

const P256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzmmx9yPh70VOoDLEr+kAMeWInMTu
y23q2pX9XwQ8RwanxpsOqZfWW2/3kq/2REHEPR87kRHdyoMliCSkgQWpIw==
-----END PUBLIC KEY-----
";
const P256_X: &str = "zmmx9yPh70VOoDLEr-kAMeWInMTuy23q2pX9XwQ8RwY";
const P256_Y: &str = "p8abDqmX1ltv95Kv9kRBxD0fO5ER3cqDJYgkpIEFqSM";
const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAErFwTojdJ0u6XCfI5RPO00CAk609l4679
bvMzgE/bUePGFO7rEr/f+yXMvee8ekxf5rxc4RahtUrTOXzpnc7Yxx5YDHT2L6si
i/Qi1D7cB6GVE2VlKeNdyFbgsI3uJc2r
-----END PUBLIC KEY-----
";
const P384_X: &str = "rFwTojdJ0u6XCfI5RPO00CAk609l4679bvMzgE_bUePGFO7rEr_f-yXMvee8ekxf";
const P384_Y: &str = "5rxc4RahtUrTOXzpnc7Yxx5YDHT2L6sii_Qi1D7cB6GVE2VlKeNdyFbgsI3uJc2r";
const P521: &str = "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAOvEEA8i5SoujtOqSyltZ9FeBVY2h
t9zMlKjHoN4Id0i1/itMhh0Br6DH79z+f0UOKM9tA2B4GTTSvaJc6u3eTZkA6p3H
vhd78i06FIiuWRJzrORVwUUeLq6vc00W8qNDM3OMTKIKgWYxK+lUB53bcJtsYVsN
TPL9ff5LJ2LJJbnqEIw=
-----END PUBLIC KEY-----
";
const P521_X: &str = concat!(
    "ADrxBAPIuUqLo7TqkspbWfRXgVWNobfczJSox6DeCHdItf4rTIYdAa-gx-_c_n9FDijPbQNgeBk00r2iXOrt3k",
    "2Z",
);
const P521_Y: &str = concat!(
    "AOqdx74Xe_ItOhSIrlkSc6zkVcFFHi6ur3NNFvKjQzNzjEyiCoFmMSvpVAed23CbbGFbDUzy_X3-SydiySW56h",
    "CM",
);
const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAA5wFR2gfmS1nuH+HbTt++6ygohxgY1CqlJBZM0BeKD0=
-----END PUBLIC KEY-----
";
const ED25519_X: &str = "A5wFR2gfmS1nuH-HbTt--6ygohxgY1CqlJBZM0BeKD0";
const RSA_2048: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEArzQCWygBCHk/gWxVLvZr
i6PVkWzh9qIuvOg1BN3qvngHhXWtyOUHhh66TGZa/hIK4zyTzMjgtVJdpuoz052W
OzIUIpoGvo3nfsOAvMI3vgRNNew2vJ+mDOJWV4myfBYaG0W6RCF3owpAhbvwHrKI
UMJjL35Z6NinWecOYZXckXIx16f9GjUtulQTrOZBENyDHxRohRyLvygpw3cyz/Yv
I9HAUhg2i25hBWPFXIBLvZB4Kk1sxXgTgK5ZXcwoIKQIf5nv58HjkJR8OYM3FmLR
gWIPwHRW/gdf8Ikji3dJYwlrRruh1+mEuu0FIu3G382+bcgSV504dZi0lBWqk534
GwIDAQAB
-----END PUBLIC KEY-----
";
const RSA_2048_N: &str = concat!(
    "rzQCWygBCHk_gWxVLvZri6PVkWzh9qIuvOg1BN3qvngHhXWtyOUHhh66TGZa_hIK4zyTzMjgtVJdpuoz052WOz",
    "IUIpoGvo3nfsOAvMI3vgRNNew2vJ-mDOJWV4myfBYaG0W6RCF3owpAhbvwHrKIUMJjL35Z6NinWecOYZXckXIx",
    "16f9GjUtulQTrOZBENyDHxRohRyLvygpw3cyz_YvI9HAUhg2i25hBWPFXIBLvZB4Kk1sxXgTgK5ZXcwoIKQIf5",
    "nv58HjkJR8OYM3FmLRgWIPwHRW_gdf8Ikji3dJYwlrRruh1-mEuu0FIu3G382-bcgSV504dZi0lBWqk534Gw",
);
const RSA_4096: &str = "-----BEGIN PUBLIC KEY-----
MIICIDANBgkqhkiG9w0BAQEFAAOCAg0AMIICCAKCAgEA2vDNPX11GGT7ncX719Cm
PLzPvC3WVXt95Phfbb5gwKuFJLU27NXIxNc0K4UlZhXuSTZH+EDxdM/0LUQOem5e
2a21ZJPVmn1jvV5Xl6P85ffoYyZYlgy2s5AnAWdlRzlKoj5Bg3g642092ta9M06V
9KMaGDlcmShVNu43NQT7Sb4Oq+ifuUWqdVrug7zXQCOhYtFFQVSCooSH+fE2B1dT
3mj7ww43ME0ZOpWzJ3o2aOtGVRBD+nBfX1XxiTtaSPus+wDnNrxuu8O5L5TdNs0X
SMl9nopDfhuKur9hFABChbOP8Yly6098yE9t4SblMsQ1rZBheBRdS528qWpD+oCV
lOZ2EeNvDoQ/TPD6AXKZLS/27oeU10nry7E4Dy27pX54Ec3OibvvT/Y+dGSPyBRx
HStzHUd1Xix5mrXJ23OMnXofSc6QPVzpCmfWuKvwj7b1TDQ0hWQSaAI7zozHjOX3
OX/DDdpxIXQ2CG9TRarCq/trmCmA03PeB6mEXW5q71DJwiC5HYDembw26F1Y1ZKJ
ZYCDA7TqyBJyL2TmIn6uB05xvLR25aWxxTpTAHYpqxw8fgueTMCDAl7Zb1UvlQZl
UeOYBNV2Ea2bHwOy4qPUypslDFcgrbf3cwt56E7tvUe/oAtk/Vp2xobAkZFtxqL/
2p7q+TNp9EYeUHOW0KN8B2cCAQM=
-----END PUBLIC KEY-----
";
const RSA_4096_N: &str = concat!(
    "2vDNPX11GGT7ncX719CmPLzPvC3WVXt95Phfbb5gwKuFJLU27NXIxNc0K4UlZhXuSTZH-EDxdM_0LUQOem5e2a",
    "21ZJPVmn1jvV5Xl6P85ffoYyZYlgy2s5AnAWdlRzlKoj5Bg3g642092ta9M06V9KMaGDlcmShVNu43NQT7Sb4O",
    "q-ifuUWqdVrug7zXQCOhYtFFQVSCooSH-fE2B1dT3mj7ww43ME0ZOpWzJ3o2aOtGVRBD-nBfX1XxiTtaSPus-w",
    "DnNrxuu8O5L5TdNs0XSMl9nopDfhuKur9hFABChbOP8Yly6098yE9t4SblMsQ1rZBheBRdS528qWpD-oCVlOZ2",
    "EeNvDoQ_TPD6AXKZLS_27oeU10nry7E4Dy27pX54Ec3OibvvT_Y-dGSPyBRxHStzHUd1Xix5mrXJ23OMnXofSc",
    "6QPVzpCmfWuKvwj7b1TDQ0hWQSaAI7zozHjOX3OX_DDdpxIXQ2CG9TRarCq_trmCmA03PeB6mEXW5q71DJwiC5",
    "HYDembw26F1Y1ZKJZYCDA7TqyBJyL2TmIn6uB05xvLR25aWxxTpTAHYpqxw8fgueTMCDAl7Zb1UvlQZlUeOYBN",
    "V2Ea2bHwOy4qPUypslDFcgrbf3cwt56E7tvUe_oAtk_Vp2xobAkZFtxqL_2p7q-TNp9EYeUHOW0KN8B2c",
);
const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDTFNYsD6LesJ9jUPiNU2Z7ksNj
sH4z9tGMVRmS1HkuRrgyECpQH+KLPaQvsxbqLnoJ2feSiX45O0hG+nP9mk8H4qVh
C2YW42mz7SmeguVwgBpHeec8LVMZ7qN7xtBmMaP0Hl14wAqSw/7WKSytlWpOgvwP
DXReOE9RnPBau1evswIDAQAB
-----END PUBLIC KEY-----
";
const COMPRESSED: &str = "-----BEGIN PUBLIC KEY-----
MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgADzmmx9yPh70VOoDLEr+kAMeWInMTu
y23q2pX9XwQ8RwY=
-----END PUBLIC KEY-----
";
const SECP256K1: &str = "-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEjQ3k2i7Q4L56KaT200p5qSfgfLY57HZd
rcoTC3nH2BJ0hlGM54j6zqwqB3vsxqNAIF4syuWuWmTeut2YNoAQow==
-----END PUBLIC KEY-----
";
const X25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VuAyEAQ3LCIKw1F7JkCeem524BlHmpPLOiJARqdj2eYCQQrVg=
-----END PUBLIC KEY-----
";
const RSA_PSS: &str = "-----BEGIN PUBLIC KEY-----
MIIBIDALBgkqhkiG9w0BAQoDggEPADCCAQoCggEBANx4VlHwp7lZs28HaFxiEaH9
sqYQ0SN/uD7o9747ABouwlW4AUn+Z3LVMyNWzoDIBwPaQqQHxcl48Niz0ax0W8RI
grAp8K+QAuhdFV9hd5mnvXXHA7I934lUKynTP6wO9PI53przTWQRARAIxkEkwSTC
YGTHmczxLowx1vu+XI91aAbE+TT0tY9mncSTvt7DxPbkjWVVfl6agFqGAns4Ftqq
GVbFMA1UuhV70dC+7dwkYQHlFXhXNcpfbDOgixnBY1qPpM5UwWk+793m8d3/hV7o
kV+U4dvUkYWKe8RpeheHPNMNm2UCyxpYxF8AAlvYQetT7AJLL0eN1cY2R928uHUC
AwEAAQ==
-----END PUBLIC KEY-----
";
const PKCS1: &str = "-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEArzQCWygBCHk/gWxVLvZri6PVkWzh9qIuvOg1BN3qvngHhXWtyOUH
hh66TGZa/hIK4zyTzMjgtVJdpuoz052WOzIUIpoGvo3nfsOAvMI3vgRNNew2vJ+m
DOJWV4myfBYaG0W6RCF3owpAhbvwHrKIUMJjL35Z6NinWecOYZXckXIx16f9GjUt
ulQTrOZBENyDHxRohRyLvygpw3cyz/YvI9HAUhg2i25hBWPFXIBLvZB4Kk1sxXgT
gK5ZXcwoIKQIf5nv58HjkJR8OYM3FmLRgWIPwHRW/gdf8Ikji3dJYwlrRruh1+mE
uu0FIu3G382+bcgSV504dZi0lBWqk534GwIDAQAB
-----END RSA PUBLIC KEY-----
";
