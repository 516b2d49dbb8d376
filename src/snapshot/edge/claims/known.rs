//! Fields that widely used servers, frameworks and applications believe when a proxy of theirs sends them.
//!
//! What clients themselves send to known programs is not here, such as `X-User-Id` and `X-Auth-Token` (Rocket.Chat),
//! `X-User-Email` and `X-User-Token` (Rails), `X-Auth-User` and `X-Auth-Key` (Swift), `X-HTTP-Method-Override`,
//! `Impersonate-User` (Kubernetes). The conf adds names, and lets names pass.

/// Names, and with `*` beginnings of names, of three bytes at least.
pub(super) const CLAIMS: &str = "
    forwarded forwarded-for* x-forwarded x-forwarded-* x-real-* real-ip x-originating-ip x-original-* x-remote-*
    client-ip cluster-client-ip x-client-ip x-clientip x-cluster-client-ip x-proxyuser-ip x-source-ip x-sourceip
    x-true-client-ip true-client-ip x-true-ip x-user-ip x-custom-ip-authorization x-coming-from coming-from
    proxy-client-ip x-proxy-client-ip wl-proxy-* $ws*

    ali-cdn-real-ip cdn-real-ip cdn-src-ip cf-* cloudfront-* do-connecting-ip eo-client-ip eo-connecting-ip
    fastly-client* fastly-ff fastly-ssl fly-client-ip fly-forwarded-* fly-region incap-client-ip akamai-origin-hop
    x-akamai-* x-azure-* x-nf-client-connection-ip x-qrator-ip-source x-sucuri-* x-vercel-forwarded-for x-vercel-ip-*
    x-vercel-proxied-for x-cdn-src-ip

    x-amzn-lambda-context x-amzn-mtls-* x-amzn-oidc-* x-amzn-request-context x-apigateway-* x-appengine-*
    x-cloudscheduler* x-cloudtasks-* x-endpoint-api-userinfo x-goog-authenticated-* x-goog-iap-*
    x-appservice-proto x-arr-* x-iis-windowsauthtoken x-ms-client-principal* x-ms-token-* x-waws-* disguised-host
    was-default-hostname ms-aspnetcore-*

    x-envoy-downstream-service-* x-envoy-external-* x-envoy-internal x-envoy-original-* x-envoy-peer-metadata* l5d-*

    remote-* x-webauth-* x-auth-request-* x-auth-couchdb-* x-auth-email x-auth-groups x-auth-roles x-auth-subject
    x-auth-userid x-auth-username x-authenticated x-authenticated-* x-authentik-* x-anonymous-consumer x-consumer-*
    x-credential-* x-identity-status x-jwt-claim* x-jwt-payload x-ldap-* x-oidc-* x-pomerium-* x-proxy-ext-*
    x-proxy-roles x-proxy-user x-rh-identity x-roles x-saml-* x-sandstorm-* x-sso-* x-vouch-* x-user x-userid
    x-userinfo x-username x-user-dn x-user-groups x-user-info x-user-name x-user-role x-user-roles
    iv-* kubeflow-userid mellon-* ngrok-auth-* oam-remote-user oidc-* osso-* shib-* sm-authdirname sm-serversessionid
    sm-universalid sm-user sm-userdn smuser tailscale-user-* teleport-jwt-assertion ynh-user
    x-proxiedentitieschain x-proxiedentitygroups

    client-cert* x-client-cert* x-clientcert* x-client-dn x-client-i-dn x-client-issuer* x-client-s-dn
    x-client-serial* x-client-subject* x-client-verify ssl-cipher ssl-cipher-usekeysize ssl-client-* ssl-session-id
    x-ssl x-ssl-* x-tls-client-*

    front-end-https https x-https x-scheme x-url-scheme x-host x-host-override x-http-host-override
    x-proxyhost x-proxyport x-proxyscheme x-proxycontextpath

    x-rewrite-url x-http-destinationurl x-proxy-url x-ingress-path x-script-name script-name path-info
    x-accel-mapping x-sendfile-type x-middleware-subrequest x-request-id
";
