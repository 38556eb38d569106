//! Purposes: the closed list of what a delivery may be used for.

use crate::text::closed_list;

closed_list!(
    /// What the recipient may use a delivery for. A closed list: a purpose that is not on it
    /// is refused. [`CreditDecision`](Self::CreditDecision) is on it so that it can be named,
    /// explained and denied; no request for it is granted by default.
    Purpose, "a purpose",
    "one of marketing_suitability, product_recommendation, risk_assessment, fraud_prevention, customer_service, joint_statistics, credit_decision",
    {
        MarketingSuitability = "marketing_suitability": "Deciding which offers suit a person, with a way to object (PIPL Art. 24).",
        ProductRecommendation = "product_recommendation": "Recommending a product to a person who asked for advice.",
        RiskAssessment = "risk_assessment": "Judging the recipient's own exposure, without a decision about credit.",
        FraudPrevention = "fraud_prevention": "Finding identity fraud and double claims.",
        CustomerService = "customer_service": "Serving common customers under contracts they already hold.",
        JointStatistics = "joint_statistics": "Describing the common customers as a group.",
        CreditDecision = "credit_decision": "Granting, pricing or refusing credit to a person; denied by default.",
    }
);

impl Purpose {
    /// Whether requests for it are denied unless a rule of the house says otherwise.
    #[must_use]
    pub fn is_denied_by_default(self) -> bool {
        self == Self::CreditDecision
    }
}
