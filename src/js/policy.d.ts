/** The policy file as JSON, which the build writes next to the Worker. */
declare const policy: string;
export default policy;
